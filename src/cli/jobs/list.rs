//! `dispatcher jobs list`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{mask, state};
use crate::cli::table::Table;
use crate::cli::{output, when};
use crate::domain::job::{State, Timestamp};
use crate::domain::mobile::Mobile;
use crate::store::Store;
use crate::store::query::{BadCursor, Cursor, JobFilter, JobInfo, MAX_PAGE};

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs list --state failed,expired --since 2026-11-11
  dispatcher jobs list --state waiting --account main --limit 20
  dispatcher jobs list --code 4030 --since 7d --json | jq -r '.[].id'

Times are those of the last change: 2026-11-11T09:30:00+08:00, 2026-11-11, or how long ago: 2h.
Where there is more, the cursor of the next page is printed on stderr.";

/// Lists jobs, the one that changed last first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListArgs {
    /// In one of these states
    #[arg(long = "state", value_delimiter = ',', value_name = "STATE,…", value_parser = state_parser())]
    states: Vec<State>,
    /// With this last code of the gateway
    #[arg(long, allow_negative_numbers = true)]
    code: Option<i64>,
    /// Of this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// To this number
    #[arg(long, value_parser = parse_mobile)]
    mobile: Option<Mobile>,
    /// Last changed then or later
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Last changed before
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<Timestamp>,
    /// How many, at most 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Go on behind an earlier page
    #[arg(long, value_parser = parse_cursor)]
    cursor: Option<Cursor>,
    /// Show whole numbers and, with --json, texts
    #[arg(long)]
    full: bool,
}

fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.iter().map(|state| state.as_str()))
        .try_map(|word| State::parse(&word).ok_or("is no state"))
}

fn parse_mobile(text: &str) -> Result<Mobile, String> {
    Mobile::parse(text).map_err(|problem| format!("it {problem}"))
}

fn parse_cursor(text: &str) -> Result<Cursor, BadCursor> {
    text.parse()
}

/// Prints one page.
pub(super) async fn run(args: ListArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let filter = JobFilter {
        states: args.states,
        code: args.code,
        account: args.account,
        mobile: args.mobile,
        since: args.since,
        until: args.until,
        limit: args.limit,
        cursor: args.cursor,
        ..JobFilter::default()
    };
    let mut page = store.list_jobs(&filter).await?;
    if !args.full {
        page.rows.iter_mut().for_each(mask);
    }
    output::list(&page.rows, as_json, table)?;
    output::next_page(page.next.as_ref());
    Ok(())
}

fn table(jobs: &[JobInfo]) -> String {
    let zone = jobs.first().map(|job| when::zone(job.updated_at)).unwrap_or_default();
    let changed = format!("CHANGED ({zone})");
    let mut table = Table::new(&["ID", "STATE", "CODE", "MOBILE", "ACCOUNT", "PRIORITY", "ATTEMPTS", &changed, "DUE"]);
    for job in jobs {
        table.row([
            job.id.clone(),
            state(job),
            job.code.map(|code| code.to_string()).unwrap_or_default(),
            job.mobile.clone(),
            job.account.clone(),
            job.priority.clone(),
            job.attempts.to_string(),
            when::show(job.updated_at),
            job.due_at.map(when::show).unwrap_or_default(),
        ]);
    }
    table.render()
}
