//! `dispatcher jobs show`.

use anyhow::bail;
use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::story::tell;
use crate::cli::{output, when};
use crate::config::Config;
use crate::explain::{self, Manner, Story};
use crate::store::Store;
use crate::store::query::{AttemptInfo, Dossier, JobInfo, JobReplay, ReceiptInfo, ReplyInfo};

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs show order-1
  dispatcher jobs show order-1 --full --json | jq .story

Number and text are masked: they are personal data, and texts may hold codes. --full shows them.";

/// Shows a job's story: what happened to it in order, why it waits and behind how many, and what you can do.
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
    job: Map<String, Value>,
    attempts: Vec<AttemptInfo>,
    receipts: Vec<ReceiptInfo>,
    replies: Vec<ReplyInfo>,
    replays: Vec<JobReplay>,
    #[serde(flatten)]
    story: Story,
}

/// Prints the job.
pub(super) async fn run(args: ShowArgs, store: &Store, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let Some(mut dossier) = store.dossier(&args.id).await? else {
        bail!(
            "no job has this id: it was not received yet (or waits in memory, as while the gateway cannot be reached: see \
             `dispatcher top`), was refused (see `dispatcher rejections list`), or is older than retention.jobs"
        );
    };
    if !args.full {
        dossier.mask();
    }
    let story = explain::story(&dossier, &manner(config, &dossier.job.account, as_json));
    let Dossier { job, attempts, receipts, replies, replays, .. } = dossier;
    match as_json {
        true => output::json(&Whole { job: facts(&job)?, attempts, receipts, replies, replays, story }),
        false => output::line(&tell(&job, &story)),
    }
}

/// The job's own row. Its count of attempts is `attempts_spent`, as in the API: `attempts` are the requests.
fn facts(job: &JobInfo) -> serde_json::Result<Map<String, Value>> {
    let Value::Object(mut facts) = serde_json::to_value(job)? else { return Ok(Map::new()) };
    if let Some(count) = facts.remove("attempts") {
        facts.insert("attempts_spent".into(), count);
    }
    Ok(facts)
}

/// Programs get times as they stand in JSON.
fn manner(config: &Config, account: &str, as_json: bool) -> Manner {
    Manner {
        max_attempts: config.retry.max_attempts,
        rate: config.account(account).map(|account| account.rate.each_second()),
        show: if as_json { |at| at.to_rfc3339_opts(SecondsFormat::Secs, true) } else { when::show },
    }
}
