//! `dispatcher jobs show`.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{mask, story};
use crate::cli::output;
use crate::config::Config;
use crate::store::Store;
use crate::store::query::{AttemptInfo, JobInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs show order-1
  dispatcher jobs show order-1 --full --json | jq .attempts

Number and text are masked: they are personal data, and texts may hold codes. --full shows them.";

/// Shows a job: what it is, every request that was made for it, and what comes next.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// The job's id
    id: String,
    /// Show number and text
    #[arg(long)]
    full: bool,
}

/// A job and all that belongs to it.
#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    job: JobInfo,
    attempts: Vec<AttemptInfo>,
}

/// Prints the job.
pub(super) async fn run(args: ShowArgs, store: &Store, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let Some(mut job) = store.find_job(&args.id).await? else {
        bail!(
            "no job has this id: it was not received yet, was refused (see `dispatcher rejections list`), or is \
             older than retention.jobs"
        );
    };
    let attempts = store.list_attempts(&args.id).await?;
    if !args.full {
        mask(&mut job);
    }
    match as_json {
        true => output::json(&Whole { job, attempts }),
        false => output::line(&story::tell(&job, &attempts, config.retry.max_attempts)),
    }
}
