//! Postgres for the commands that end soon: what is wrong is said at once, instead of after the
//! daemon's patient waits.

use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::time::timeout;

use crate::config::Config;
use crate::store::{Store, probe};

/// For a connection to be made, in all.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 2;
/// Commands claim no jobs, so this protects nothing.
const LEASE: Duration = Duration::from_secs(60);

/// A store whose database answers and has the tables of this version.
///
/// # Errors
/// When Postgres does not answer or refuses, or lacks migrations; with the cure.
pub(super) async fn migrated_store(config: &Config) -> anyhow::Result<Store> {
    let store = store(config).await?;
    store.check_migrations().await?;
    Ok(store)
}

/// A store whose database answers.
///
/// # Errors
/// When Postgres does not answer or refuses, with the cure.
pub(super) async fn store(config: &Config) -> anyhow::Result<Store> {
    let url = &config.postgres.url;
    timeout(PATIENCE, probe(url))
        .await
        .map_err(|_| anyhow!("does not answer within {} s: check host and port of postgres.url", PATIENCE.as_secs()))
        .and_then(|probed| Ok(probed?))
        .context("Postgres")?;
    let open = if config.events.enabled { Store::new } else { Store::silent };
    Ok(open(url, CONNECTIONS, LEASE)?)
}
