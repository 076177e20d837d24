//! `dispatcher migrate`.

use clap::Args;
use serde_json::json;

use super::{connect, output};
use crate::config::Config;
use crate::store::MigrationError;

const EXAMPLES: &str = "\
Examples:
  dispatcher migrate
  DISPATCHER__POSTGRES__URL=postgres://owner:secret@db/sms dispatcher migrate

Running it again changes nothing. Of several at a time one migrates, the others wait.";

/// Creates or updates the tables in Postgres.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MigrateArgs {}

/// Applies what is missing.
///
/// # Errors
/// When Postgres cannot be reached, or its schema is not this program's.
pub(super) async fn run(_args: MigrateArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let store = connect::store(config).await?;
    let missing = match store.check_migrations().await {
        Err(MigrationError::Behind(missing)) => missing,
        // Whatever else there is, `migrate` says it.
        _ => 0,
    };
    store.migrate().await?;
    store.close().await;
    match (as_json, missing) {
        (true, _) => output::json(&json!({ "up_to_date": true, "applied": missing })),
        (false, 0) => output::line("the database is up to date"),
        (false, _) => output::line(&format!("the database is up to date: {missing} migration(s) applied")),
    }
}
