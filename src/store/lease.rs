//! The right to serve a shard: a session-level advisory lock on a connection of its own. When its
//! holder dies, Postgres sees the connection end and gives the lock to the next.
//!
//! It makes one process the consumer of all three priorities, so that a number's limiter is in one
//! place; RabbitMQ's single active consumer guards each queue besides.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::connect::{SESSION, Store, TAKES_NO_WRITES, takes_writes};
use super::error::ledger_error;
use super::pool::Pool;
use crate::dispatch::ports::{Boxed, Held, Lease, LedgerError};

/// Between two looks whether the lock's connection still lives.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer counts as lost.
const LIMIT: Duration = Duration::from_secs(5);

/// The lock of one deployment's shard.
pub struct ShardLease {
    url: SecretString,
    key: String,
    pool: Pool,
}

impl ShardLease {
    /// The lock for shard 0 of the deployment whose queues begin with `prefix`. `store` is told when the
    /// lock's connection has failed: its own have hardly fared better.
    pub fn new(url: &SecretString, prefix: &str, store: &Store) -> Self {
        ShardLease { url: url.clone(), key: format!("dispatcher shard {prefix}.0"), pool: store.pool.clone() }
    }

    async fn try_lock(&self) -> Result<Option<PgConnection>, LedgerError> {
        let options = PgConnectOptions::from_str(self.url.expose_secret())
            .map_err(|_| LedgerError::Unavailable("postgres.url cannot be read".into()))?
            .application_name("dispatcher lease");
        let mut connection = options.connect().await.map_err(ledger_error)?;
        connection.execute(SESSION).await.map_err(ledger_error)?;
        // A standby grants the lock, which means nothing to its primary.
        if !takes_writes(&mut connection).await.map_err(ledger_error)? {
            return Err(LedgerError::Unavailable(TAKES_NO_WRITES.into()));
        }
        let locked: bool = sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(&self.key)
            .fetch_one(&mut connection)
            .await
            .map_err(ledger_error)?;
        if locked {
            takes_jobs(&mut connection).await.map_err(|error| {
                let (LedgerError::Unavailable(why) | LedgerError::Refused(why)) = ledger_error(error);
                LedgerError::Unavailable(format!("it takes no jobs: {why}"))
            })?;
            return Ok(Some(connection));
        }
        let _ = connection.close().await;
        Ok(None)
    }
}

/// A job could be stored now: the disk has room, and nobody keeps the table locked. Where it could not, nothing is
/// consumed. RabbitMQ takes back what is not acknowledged within half an hour, and after twenty times it would go to the
/// dead letters.
async fn takes_jobs(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut trial = connection.begin().await?;
    // More than there is room for in a page that is there already.
    let job = "insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, on_unknown, digest, claim_id)
         select 'a trial', 0, 'none', 'none', 'bulk', (select string_agg(md5(n::text), '') from generate_series(1, 1000) n),
             'waiting', 'scheduled', 'hold', '\\x00', 0
         on conflict do nothing";
    trial.execute(job).await?;
    trial.rollback().await
}

impl Lease for ShardLease {
    fn acquire(&self) -> Boxed<'_, Result<Option<Box<dyn Held>>, LedgerError>> {
        Box::pin(async move {
            let tried = tokio::time::timeout(LIMIT, self.try_lock()).await;
            let connection = tried.map_err(|_| LedgerError::Unavailable("no answer within 5 s".into()))??;
            Ok(connection
                .map(|connection| Box::new(HeldLease { connection, pool: self.pool.clone() }) as Box<dyn Held>))
        })
    }
}

struct HeldLease {
    connection: PgConnection,
    pool: Pool,
}

impl Held for HeldLease {
    fn lost(&mut self) -> Boxed<'_, String> {
        Box::pin(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let failure = match tokio::time::timeout(LIMIT, self.connection.ping()).await {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => format!("Postgres: {error}"),
                    Err(_) => "Postgres gives no answer".into(),
                };
                self.pool.renew();
                return failure;
            }
        })
    }

    fn release(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move {
            // Closing ends the lock; a connection that is broken has lost it already.
            let _ = tokio::time::timeout(LIMIT, self.connection.close()).await;
        })
    }
}
