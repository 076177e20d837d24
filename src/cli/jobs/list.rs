//! `dispatcher jobs list`.

use clap::Args;

use super::{JobFlags, state};
use crate::cli::table::Table;
use crate::cli::{output, parse, when, who};
use crate::store::Store;
use crate::store::query::{Cursor, JobFilter, JobInfo, MAX_PAGE};

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs list --state failed,expired --since 2026-11-11
  dispatcher jobs list --state waiting --account main --limit 20
  dispatcher jobs list --code 4030 --since 7d --limit 1000 --json | jq -r '.[].id'

Times are those of the last change: 2026-11-11T09:30:00+08:00, 2026-11-11, or how long ago: 2h.
Where there is more, the cursor of the next page is printed on stderr. A search by number is recorded
in the table operations, with your name.";

/// Lists jobs, the one that changed last first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListArgs {
    #[command(flatten)]
    jobs: JobFlags,
    /// How many, at most 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PAGE)))]
    limit: u32,
    /// Go on behind an earlier page
    #[arg(long, value_parser = parse::cursor)]
    cursor: Option<Cursor>,
    /// Show whole numbers and, with --json, texts
    #[arg(long)]
    full: bool,
}

/// Prints one page.
pub(super) async fn run(args: ListArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let filter = JobFilter { limit: args.limit, cursor: args.cursor, ..args.jobs.filter() };
    let mut page = store.list_jobs(&filter).await?;
    if let Some(mobile) = filter.mobile {
        store.note_search(&who::operator(None), mobile, page.rows.len() as i64).await?;
    }
    if !args.full {
        page.rows.iter_mut().for_each(JobInfo::mask);
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
