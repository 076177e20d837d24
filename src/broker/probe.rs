//! Can RabbitMQ be used with this URL? Answers with what is wrong in words, for `dispatcher check`.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

/// Why RabbitMQ cannot be used. The words hold no URL and no password.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nobody answers there, or it speaks no AMQP.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answers and refuses: user, password or virtual host.
    #[error("refuses the connection: {0}")]
    Refused(String),
    /// The user may not create queues that begin with the prefix.
    #[error("does not let the user create queues: {0}")]
    Forbidden(String),
}

/// Connects, logs in, opens the virtual host, and creates a queue `<prefix>.check…` that vanishes with
/// the connection. Changes nothing that stays. The caller limits the time.
///
/// # Errors
/// The first thing that did not work.
pub async fn probe(url: &SecretString, prefix: &str) -> Result<(), ProbeError> {
    let properties = ConnectionProperties::default().with_connection_name("dispatcher check".into());
    let connection = Connection::connect(url.expose_secret(), properties).await.map_err(connect_error)?;
    let outcome = create_queue(&connection, prefix).await;
    // The verdict is known; how the goodbye goes does not matter.
    let _ = connection.close(200, "checked".into()).await;
    outcome.map_err(|error| match error.kind() {
        ErrorKind::ProtocolError(refused) => ProbeError::Forbidden(words(refused)),
        _ => ProbeError::Unreachable(error.to_string()),
    })
}

async fn create_queue(connection: &Connection, prefix: &str) -> lapin::Result<()> {
    let channel = connection.create_channel().await?;
    let name = format!("{prefix}.check.{:016x}", fastrand::u64(..));
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.map(drop)
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
