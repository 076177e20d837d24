//! `dispatcher suppressions`: the numbers that bulk jobs spare.

use clap::{Args, Subcommand};
use serde_json::json;

use super::table::Table;
use super::{connect, output, parse, when, who};
use crate::config::Config;
use crate::domain::mobile::Mobile;
use crate::domain::privacy::masked;
use crate::store::Store;
use crate::store::query::{Cursor, MAX_PAGE, SuppressionInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher suppressions list
  dispatcher suppressions add 13800138000 --reason 'asked on the phone'
  dispatcher suppressions remove 13800138000 --reason 'subscribed again'

`bulk` jobs for these numbers fail without a request; `high` and `normal` ones go. A reply that is one
of callbacks.opt_out adds its number. What is added and removed here is recorded in `operations`.";

/// Lists the numbers that bulk jobs spare, adds or removes one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SuppressionsArgs {
    #[command(subcommand)]
    command: SuppressionsCommand,
}

#[derive(Debug, Subcommand)]
enum SuppressionsCommand {
    List(ListArgs),
    /// Puts a number on the list
    Add(ChangeArgs),
    /// Takes a number off the list
    Remove(ChangeArgs),
}

/// Lists the numbers, the one added last first
#[derive(Debug, Args)]
struct ListArgs {
    /// How many, at most 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Go on behind an earlier page
    #[arg(long, value_parser = parse::cursor)]
    cursor: Option<Cursor>,
    /// Show whole numbers
    #[arg(long)]
    full: bool,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// The number, whole
    #[arg(value_parser = parse::mobile)]
    mobile: Mobile,
    /// Why, for whoever looks at it next
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// When Postgres does not answer.
pub(super) async fn run(args: SuppressionsArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let store = connect::migrated_store(config).await?;
    match args.command {
        SuppressionsCommand::List(args) => list(args, &store, as_json).await,
        SuppressionsCommand::Add(args) => {
            let changed = store.suppress(args.mobile, &who::operator(args.reason)).await?;
            say(args.mobile, true, changed, as_json)
        }
        SuppressionsCommand::Remove(args) => {
            let changed = store.unsuppress(args.mobile, &who::operator(args.reason)).await?;
            say(args.mobile, false, changed, as_json)
        }
    }
}

async fn list(args: ListArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let mut page = store.list_suppressions(args.limit, args.cursor.as_ref()).await?;
    if !args.full {
        page.rows.iter_mut().for_each(|row| row.mobile = masked(&row.mobile));
    }
    output::list(&page.rows, as_json, table)?;
    output::next_page(page.next.as_ref());
    Ok(())
}

fn table(suppressions: &[SuppressionInfo]) -> String {
    let zone = suppressions.first().map(|row| when::zone(row.added_at)).unwrap_or_default();
    let mut table = Table::new(&["MOBILE", &format!("SINCE ({zone})"), "BY", "REASON"]);
    for row in suppressions {
        table.row([row.mobile.clone(), when::show(row.added_at), row.added_by.clone(), row.reason.clone()]);
    }
    table.render()
}

fn say(mobile: Mobile, suppressed: bool, changed: bool, as_json: bool) -> anyhow::Result<()> {
    let (state, was) = if suppressed { ("suppressed", "already") } else { ("not suppressed", "before, either") };
    match (as_json, changed) {
        (true, _) => {
            output::json(&json!({ "mobile": mobile.to_string(), "suppressed": suppressed, "changed": changed }))
        }
        (false, true) => output::line(&format!("{mobile} is {state} now")),
        (false, false) => output::line(&format!("{mobile} was {state} {was}")),
    }
}
