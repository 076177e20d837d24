//! Postgres: waited for at the start, and watched from then on.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::LIMIT;
use crate::config::Config;
use crate::dispatch::health::{Health, Part};
use crate::store::{self, MigrationError, Store};
use crate::systemd;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Waits for Postgres, and makes sure of the schema.
pub(super) async fn prepare(config: &Config, store: &Store, migrate: bool, health: &Health) -> anyhow::Result<()> {
    let mut announced = false;
    loop {
        // Asked first: the pool would say only that it waited.
        let reason = match probe(config).await {
            Ok(()) => match schema(store, migrate).await {
                Ok(()) => return Ok(()),
                Err(MigrationError::Ledger(error)) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
            Err(reason) => reason,
        };
        health.down(Part::Postgres, reason.clone());
        if !announced {
            error!(reason, "waiting for Postgres");
            // For the service manager this is started: it must not end what waits.
            systemd::ready();
            announced = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn schema(store: &Store, migrate: bool) -> Result<(), MigrationError> {
    if migrate { store.migrate().await } else { store.check_migrations().await }
}

/// Why Postgres cannot be reached, in words.
async fn probe(config: &Config) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, store::probe(&config.postgres.url)).await {
        Ok(probed) => probed.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

/// `readyz` says at once when Postgres is away or takes no writes, even while no job is under way.
pub(super) async fn watch(config: Config, store: Store, health: Arc<Health>) {
    loop {
        let ping = store.clone();
        // Spawned, because a query that is cancelled half-way spoils its connection.
        let answer = tokio::time::timeout(LIMIT, tokio::spawn(async move { ping.ping().await })).await;
        match answer {
            Ok(Ok(Ok(()))) => {
                if health.up(Part::Postgres) {
                    info!("Postgres is reached");
                }
            }
            _ => match probe(&config).await {
                Err(reason) => note_postgres(&health, reason),
                Ok(()) => note_postgres(&health, "it is reached, but the daemon's connections give no answer".into()),
            },
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn note_postgres(health: &Health, reason: String) {
    if health.down(Part::Postgres, reason.clone()) {
        warn!(reason, "Postgres is away");
    }
}
