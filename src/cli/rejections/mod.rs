//! `dispatcher rejections`: messages that were no valid jobs.

mod retry;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::table::{Table, clean};
use super::{connect, output, parse, when};
use crate::config::Config;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;
use crate::domain::privacy;
use crate::store::Store;
use crate::store::query::{Cursor, MAX_PAGE, RejectionFilter, RejectionInfo, RejectionSummary};

const EXAMPLES: &str = "\
Examples:
  dispatcher rejections list --since 1h
  dispatcher rejections list --reason id_conflict --json
  dispatcher rejections show 17 --full
  dispatcher rejections retry 17 --reason 'account added to the configuration'

Nothing is dropped: what was no valid job is kept as it came.";

/// Lists messages that were refused, shows one, or publishes some again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RejectionsArgs {
    #[command(subcommand)]
    command: RejectionsCommand,
}

#[derive(Debug, Subcommand)]
enum RejectionsCommand {
    List(ListArgs),
    Show(ShowArgs),
    Retry(retry::RetryArgs),
}

/// Lists refused messages, the newest first
#[derive(Debug, Args)]
struct ListArgs {
    /// Refused for this reason
    #[arg(long, value_parser = reason_parser())]
    reason: Option<RejectReason>,
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
}

/// Shows a refused message and why it was refused
#[derive(Debug, Args)]
struct ShowArgs {
    /// Its number in the list
    id: i64,
    /// Show the message itself, with number and text
    #[arg(long)]
    full: bool,
}

fn reason_parser() -> impl TypedValueParser<Value = RejectReason> {
    PossibleValuesParser::new(RejectReason::ALL.iter().map(|reason| reason.as_str()))
        .try_map(|word| RejectReason::parse(&word).ok_or("is no reason"))
}

/// Runs the subcommand.
///
/// # Errors
/// When Postgres does not answer, or there is no such rejection.
pub(super) async fn run(args: RejectionsArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    match args.command {
        RejectionsCommand::List(args) => list(args, &connect::migrated_store(config).await?, as_json).await,
        RejectionsCommand::Show(args) => show(args, &connect::migrated_store(config).await?, as_json).await,
        RejectionsCommand::Retry(args) => retry::run(args, config, as_json).await,
    }
}

async fn list(args: ListArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let filter = RejectionFilter {
        reason: args.reason,
        since: args.since,
        until: args.until,
        limit: args.limit,
        cursor: args.cursor,
    };
    let page = store.list_rejections(&filter).await?;
    output::list(&page.rows, as_json, table)?;
    output::next_page(page.next.as_ref());
    Ok(())
}

fn table(rejections: &[RejectionSummary]) -> String {
    let zone = rejections.first().map(|row| when::zone(row.received_at)).unwrap_or_default();
    let mut table = Table::new(&["ID", &format!("RECEIVED ({zone})"), "REASON", "BYTES", "DETAIL"]);
    for row in rejections {
        table.row([
            row.id.to_string(),
            when::show(row.received_at),
            row.reason.clone(),
            row.bytes.to_string(),
            row.detail.clone(),
        ]);
    }
    table.render()
}

/// A rejection as JSON; the message's parts only where they were asked for.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: &'a RejectionSummary,
    /// The body; what is no UTF-8 in it is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<&'a RawValue>,
    #[serde(flatten)]
    publisher: Publisher,
}

/// With numbers masked. The message may have been refused for a wrong one: what could be one is hidden between dots, as
/// in `<priority>.<mobile>`.
fn without_numbers(text: &str) -> String {
    let text = privacy::without_numbers(text);
    let parts: Vec<&str> = text.split('.').collect();
    // A number may have dots of its own.
    let joined = parts.chunk_by(|one, next| is_bare(one) && is_bare(next)).map(|parts| parts.join("."));
    joined.map(|part| if may_be_number(&part) { "****".into() } else { part }).collect::<Vec<_>>().join(".")
}

/// Digits and signs only, and none of a number that is masked.
fn is_bare(part: &str) -> bool {
    !part.contains(|c: char| c.is_alphabetic() || c == '*')
}

fn may_be_number(part: &str) -> bool {
    let in_a_row = part.split(|c: char| !c.is_numeric()).map(|digits| digits.chars().count()).max();
    is_bare(part) && part.chars().filter(|c| c.is_numeric()).count() >= SHORTEST_NUMBER
        || in_a_row.is_some_and(|digits| digits >= LONGER_THAN_DATES)
}

/// Digits of what somebody may recognise.
const SHORTEST_NUMBER: usize = 7;
/// Digits that are no date, such as in `shop-20261111`.
const LONGER_THAN_DATES: usize = 9;

/// What tells whose message it is, numbers masked.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Publisher {
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
}

impl Publisher {
    fn of(rejection: &RejectionInfo) -> Publisher {
        let Publisher { routing_key, user_id, app_id } =
            serde_json::from_str(rejection.properties.get()).unwrap_or_default();
        let hide = |text: Option<String>| text.map(|text| without_numbers(&text));
        Publisher { routing_key: hide(routing_key), user_id: hide(user_id), app_id: hide(app_id) }
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let parts = [("routing key", &self.routing_key), ("user id", &self.user_id), ("app id", &self.app_id)];
        parts.into_iter().filter_map(|(name, text)| Some(format!("{name:<11} {}", clean(text.as_deref()?))))
    }
}

async fn show(args: ShowArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let Some(rejection) = store.find_rejection(args.id).await? else {
        bail!("there is no rejection of this number: see `dispatcher rejections list`");
    };
    match as_json {
        true => output::json(&Shown {
            summary: &rejection.summary,
            body: args.full.then(|| String::from_utf8_lossy(&rejection.body).into_owned()),
            properties: args.full.then_some(&rejection.properties),
            publisher: Publisher::of(&rejection),
        }),
        false => output::line(&page(&rejection, args.full)),
    }
}

fn page(rejection: &RejectionInfo, full: bool) -> String {
    let RejectionSummary { id, reason, detail, bytes, received_at, retried_at } = &rejection.summary;
    let at = when::show_exactly(*received_at);
    let mut lines = vec![format!("rejection {id}: {reason}"), String::new(), format!("problem     {}", clean(detail))];
    lines.push(format!("received    {at} ({})", when::zone(*received_at)));
    lines.extend(retried_at.map(|at| format!("retried     {}", when::show_exactly(at))));
    lines.extend(Publisher::of(rejection).lines());
    if full {
        lines.push(format!("properties  {}", clean(rejection.properties.get())));
        lines.push(format!("body        {}", clean(&String::from_utf8_lossy(&rejection.body))));
    } else {
        lines.push(format!("body        {bytes} bytes, may hold number and text: --full shows it"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_publisher_loses_numbers_right_and_wrong_and_keeps_the_rest() {
        for (text, shown) in [
            ("normal.13800138000", "normal.138****8000"),
            ("normal.138.0013.8000", "normal.138****8000"),
            ("normal.１３８（００１３）８０００", "normal.138****8000"),
            ("shop-13800138000", "shop-138****8000"),
            ("bulk.1380013800", "bulk.****"),
            ("bulk.138.0013.800.x", "bulk.****.x"),
            ("bulk.138-0013-800", "bulk.****"),
            ("bulk-1380013800", "****"),
            ("shop-20261111", "shop-20261111"),
            ("shop.v1.2.3", "shop.v1.2.3"),
            ("normal", "normal"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), shown);
        }
    }
}
