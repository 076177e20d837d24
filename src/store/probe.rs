//! Can Postgres be used with this URL? Answers with what is wrong in words, at the first attempt: the
//! pool would try again and say only that it waited.

use std::io::ErrorKind;
use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::connect::{TAKES_NO_WRITES, takes_writes};

/// Why Postgres cannot be used, and the cure. The words hold no password.
#[derive(Debug, thiserror::Error)]
#[error("{problem}: {cure}")]
pub struct ProbeError {
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub cure: &'static str,
}

/// Connects, logs in, and asks whether it takes writes, once. The caller limits the time.
///
/// # Errors
/// When that does not work.
pub async fn probe(url: &SecretString) -> Result<(), ProbeError> {
    let options = PgConnectOptions::from_str(url.expose_secret())
        .map_err(|_| ProbeError { problem: "postgres.url cannot be read".into(), cure: "correct it" })?;
    let mut connection = options.application_name("dispatcher check").connect().await.map_err(explain)?;
    let writes = takes_writes(&mut connection).await.map_err(explain)?;
    // The verdict is known; how the goodbye goes does not matter.
    let _ = connection.close().await;
    match writes {
        true => Ok(()),
        false => Err(ProbeError { problem: TAKES_NO_WRITES.into(), cure: WRITES }),
    }
}

const WRITES: &str = "correct postgres.url to name the primary, or set default_transaction_read_only off";

fn explain(error: sqlx::Error) -> ProbeError {
    let cure = match &error {
        sqlx::Error::Database(refused) => cure_of(refused.code().as_deref().unwrap_or_default()),
        sqlx::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "start Postgres, or correct host and port of postgres.url"
        }
        sqlx::Error::Tls(_) => "correct sslmode and certificates in postgres.url",
        _ => "correct postgres.url, or see whether Postgres runs",
    };
    let problem = match &error {
        sqlx::Error::Database(refused) => refused.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    ProbeError { problem, cure }
}

/// By SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn cure_of(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => "correct user and password in postgres.url, or pg_hba.conf",
        "3D000" => "create that database, or correct postgres.url",
        "53300" => "raise max_connections of Postgres, or lower postgres.max_connections",
        "57P03" => "Postgres is starting: try again in a moment",
        _ => "see the log of Postgres",
    }
}
