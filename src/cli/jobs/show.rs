//! `dispatcher jobs show`.

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::{mask, masked_text, story};
use crate::cli::output;
use crate::config::Config;
use crate::store::Store;
use crate::store::query::{AttemptInfo, JobInfo, ReceiptInfo, ReplyInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs show order-1
  dispatcher jobs show order-1 --full --json | jq .attempts

Number and text are masked: they are personal data, and texts may hold codes. --full shows them.";

/// Shows a job: what it is, every request that was made for it, receipts and replies, and what comes next.
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
    receipts: Vec<ReceiptInfo>,
    replies: Vec<ReplyInfo>,
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
    let mut receipts = store.job_receipts(&args.id).await?;
    let mut replies = store.job_replies(&args.id).await?;
    if !args.full {
        mask(&mut job);
        receipts.iter_mut().for_each(|row| row.mobile = row.mobile.as_deref().map(output::masked));
        for reply in &mut replies {
            reply.mobile = output::masked(&reply.mobile);
            reply.content = masked_text(&reply.content);
        }
    }
    match as_json {
        true => output::json(&Whole { job, attempts, receipts, replies }),
        false => {
            let happened = story::Happened { attempts: &attempts, receipts: &receipts, replies: &replies };
            output::line(&story::tell(&job, &happened, config.retry.max_attempts))
        }
    }
}
