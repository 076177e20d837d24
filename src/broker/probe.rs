//! Can RabbitMQ be used with this URL? Answers with what is wrong in words, for `dispatcher check`.

use std::time::Duration;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use secrecy::{ExposeSecret, SecretString};

/// For a message to be confirmed. It takes milliseconds, and for ever while an alarm is on.
const CONFIRM: Duration = Duration::from_secs(5);

/// Why RabbitMQ cannot be used. The words hold no URL and no password.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers there, or it speaks no AMQP.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answers and refuses: user, password or virtual host.
    #[error("refuses the connection: {0}")]
    Refused(String),
    /// The user may not create, write or read what begins with the prefix.
    #[error("refuses the user what the dispatcher does: {0}")]
    Forbidden(String),
    /// It takes no messages at present.
    #[error("takes no messages: one of its alarms blocks publishers")]
    Blocked,
    /// It was given a message, and says nothing of it.
    #[error("neither confirms a message nor gives it back")]
    Lost,
}

/// Connects, logs in, opens the virtual host, and does what the daemon does on a queue and an exchange
/// `<prefix>.check…` that vanish with the connection: a message goes in and comes back. Changes nothing that
/// stays. The caller limits the time.
///
/// # Errors
/// The first thing that did not work.
pub async fn probe(url: &SecretString, prefix: &str) -> Result<(), ProbeError> {
    let properties = ConnectionProperties::default().with_connection_name("dispatcher check".into());
    let connection = Connection::connect(url.expose_secret(), properties).await.map_err(connect_error)?;
    let name = format!("{prefix}.check.{:016x}", fastrand::u64(..));
    let outcome = there_and_back(&connection, &name).await;
    if !matches!(outcome, Err(ProbeError::Blocked)) {
        // The verdict is known; how the goodbye goes does not matter. A connection that is blocked gets no answer.
        let _ = connection.close(200, "checked".into()).await;
    }
    outcome
}

async fn there_and_back(connection: &Connection, name: &str) -> Result<(), ProbeError> {
    let channel = connection.create_channel().await.map_err(refusal)?;
    create(&channel, name).await.map_err(refusal)?;
    match tokio::time::timeout(CONFIRM, publish(&channel, name)).await {
        Ok(published) => published.map_err(refusal)?,
        Err(_) if connection.status().blocked() => return Err(ProbeError::Blocked),
        Err(_) => return Err(ProbeError::Lost),
    }
    let got = channel.basic_get(name.into(), BasicGetOptions { no_ack: true }).await.map_err(refusal)?;
    got.map(drop).ok_or(ProbeError::Lost)
}

/// What the daemon's own queues need: to be created and bound, and a way to the dead letters.
async fn create(channel: &Channel, name: &str) -> lapin::Result<()> {
    let fleeting = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), ExchangeKind::Fanout, fleeting, FieldTable::default()).await?;
    let fleeting = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    channel.queue_declare(name.into(), fleeting, arguments).await?;
    let (key, options) = ("".into(), QueueBindOptions::default());
    channel.queue_bind(name.into(), name.into(), key, options, FieldTable::default()).await
}

async fn publish(channel: &Channel, exchange: &str) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let (key, options, properties) = ("".into(), BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish(exchange.into(), key, options, b"check", properties).await?.await.map(drop)
}

fn refusal(error: lapin::Error) -> ProbeError {
    match error.kind() {
        ErrorKind::ProtocolError(refused) => ProbeError::Forbidden(words(refused)),
        _ => ProbeError::Unreachable(error.to_string()),
    }
}

fn connect_error(error: lapin::Error) -> ProbeError {
    match error.kind() {
        ErrorKind::ProtocolError(refused) => ProbeError::Refused(words(refused)),
        _ => ProbeError::Unreachable(error.to_string()),
    }
}

/// RabbitMQ's own words, fit to be followed by a colon and the cure.
fn words(refused: &lapin::protocol::AMQPError) -> String {
    refused.get_message().as_str().trim_end_matches('.').to_owned()
}
