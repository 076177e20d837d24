//! `dispatcher receipts`: what ihuyi said about delivery.

use clap::{Args, Subcommand};

use super::table::Table;
use super::{connect, output, parse, when};
use crate::config::Config;
use crate::domain::job::Timestamp;
use crate::store::query::{Cursor, MAX_PAGE, ReceiptFilter, ReceiptInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher receipts list --unmatched --since 1d
  dispatcher receipts list --smsid 17954495980000000001

A receipt without a job is of a message that this database does not know: sent by another system with
the same account, or older than retention.jobs.";

/// Lists the receipts that ihuyi pushed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReceiptsArgs {
    #[command(subcommand)]
    command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
enum ReceiptsCommand {
    List(ListArgs),
}

/// Lists receipts, the newest first
#[derive(Debug, Args)]
struct ListArgs {
    /// Only those that belong to no job
    #[arg(long)]
    unmatched: bool,
    /// Only those of this message
    #[arg(long)]
    smsid: Option<String>,
    /// Received then or later
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Received before
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<Timestamp>,
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

/// Runs the subcommand.
///
/// # Errors
/// When Postgres does not answer.
pub(super) async fn run(args: ReceiptsArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let ReceiptsCommand::List(args) = args.command;
    let filter = ReceiptFilter {
        unmatched: args.unmatched,
        smsid: args.smsid,
        since: args.since,
        until: args.until,
        limit: args.limit,
        cursor: args.cursor,
    };
    let mut page = connect::migrated_store(config).await?.list_receipts(&filter).await?;
    if !args.full {
        page.rows.iter_mut().for_each(ReceiptInfo::mask);
    }
    output::list(&page.rows, as_json, table)?;
    output::next_page(page.next.as_ref());
    Ok(())
}

fn table(receipts: &[ReceiptInfo]) -> String {
    let zone = receipts.first().map(|row| when::zone(row.received_at)).unwrap_or_default();
    let received = format!("RECEIVED ({zone})");
    let mut table = Table::new(&["SMSID", "CODE", "MOBILE", "JOB", "REPORTED", &received, "MESSAGE"]);
    for row in receipts {
        table.row([
            row.smsid.clone(),
            row.code.map(|code| code.to_string()).unwrap_or_default(),
            row.mobile.clone().unwrap_or_default(),
            row.job_id.clone().unwrap_or_default(),
            row.reported_at.map(when::show).unwrap_or_default(),
            when::show(row.received_at),
            row.message.clone().unwrap_or_default(),
        ]);
    }
    table.render()
}
