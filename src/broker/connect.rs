//! One connection, with the heartbeat and the time limit that make a lost network show.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use secrecy::{ExposeSecret, SecretString};

use super::BrokerError;

/// Seconds; a dead peer is noticed after twice that. A URL with `?heartbeat=` has its own.
const HEARTBEAT: u16 = 10;
/// For the TCP connection and the handshake.
const LIMIT: Duration = Duration::from_secs(15);

/// For the end of a connection: a broker that is silent, or blocks us, does not answer.
const FAREWELL: Duration = Duration::from_secs(5);

/// Closes a connection; if it cannot be closed in order, it ends when it is dropped.
pub(super) async fn close(connection: &Connection) {
    // An error only says that it is closed already.
    let _ = tokio::time::timeout(FAREWELL, connection.close(200, "bye".into())).await;
}

/// Connects once; `purpose` is shown in RabbitMQ's list of connections.
pub(super) async fn connect(url: &SecretString, purpose: &str) -> Result<Connection, BrokerError> {
    crate::tls::install();
    let mut uri: AMQPUri =
        url.expose_secret().parse().map_err(|_| BrokerError("rabbitmq.url cannot be read".into()))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.connection_timeout.get_or_insert(LIMIT.as_millis() as u64);
    let properties = ConnectionProperties::default().with_connection_name(format!("dispatcher {purpose}").into());
    match tokio::time::timeout(LIMIT, Connection::connect_uri(uri, properties)).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(BrokerError(format!("no connection within {} s", LIMIT.as_secs()))),
    }
}
