//! `dispatcher migrate`.

use clap::Args;
use serde_json::json;

use super::{connect, output};
use crate::config::Config;

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
    store.migrate().await?;
    store.close().await;
    match as_json {
        true => output::json(&json!({ "up_to_date": true })),
        false => output::line("the database is up to date"),
    }
}
