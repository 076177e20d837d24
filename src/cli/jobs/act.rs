//! `dispatcher jobs cancel` and `dispatcher jobs resolve`.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::cli::exit::{Reported, WrongUsage};
use crate::cli::table::clean;
use crate::cli::{output, who};
use crate::store::Store;
use crate::store::operate::{Acted, Verdict};

/// Jobs of one statement, at most.
const CHUNK: usize = 500;

const CANCEL_EXAMPLES: &str = "\
Examples:
  dispatcher jobs cancel order-1 --reason 'order withdrawn'
  dispatcher jobs list --state waiting --code 4080 --json | jq -r '.[].id' | dispatcher jobs cancel --ids -

Only a job that is waiting or queued can be withdrawn.";

const RESOLVE_EXAMPLES: &str = "\
Examples:
  dispatcher jobs resolve order-1 --sent --smsid 17000000000000001
  dispatcher jobs resolve order-1 order-2 --not-sent --reason 'not in the console of ihuyi'
  dispatcher jobs resolve --ids doubts.txt --sent

Look the number up in ihuyi's console first: --not-sent sends the message again.";

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The jobs' ids
    #[arg(value_name = "ID")]
    given: Vec<String>,
    /// A file with an id on each line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
}

/// Withdraws jobs that have not been sent.
#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Says of jobs in doubt whether ihuyi took them.
#[derive(Debug, Args)]
#[command(after_help = RESOLVE_EXAMPLES)]
pub(super) struct ResolveArgs {
    #[command(flatten)]
    which: Which,
    /// ihuyi took the message: the job is accepted
    #[arg(long, required_unless_present = "not_sent", conflicts_with = "not_sent")]
    sent: bool,
    /// ihuyi's id of the message, by which receipts find the job
    #[arg(long, value_name = "X", requires = "sent", conflicts_with = "not_sent")]
    smsid: Option<String>,
    /// ihuyi did not take it: it is sent again now
    #[arg(long)]
    not_sent: bool,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn cancel(args: CancelArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let ids = ids(args.which)?;
    let by = who::operator(args.reason);
    let mut acted = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        acted.extend(store.cancel_jobs(&by, chunk).await?);
    }
    say(&ids, &acted, "cancelled", "only a job that is waiting or queued can be withdrawn", as_json)
}

pub(super) async fn resolve(args: ResolveArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let ids = ids(args.which)?;
    if args.smsid.is_some() && ids.len() != 1 {
        return Err(WrongUsage("--smsid belongs to one message: name one job".into()).into());
    }
    if args.smsid.as_ref().is_some_and(|smsid| smsid == "0" || !smsid.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(WrongUsage("--smsid is none: copy ihuyi's id of the message, or leave it out".into()).into());
    }
    let by = who::operator(args.reason);
    let verdict = if args.sent { Verdict::Sent(args.smsid) } else { Verdict::NotSent };
    let mut acted = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(CHUNK) {
        acted.extend(store.resolve_jobs(&by, chunk, &verdict).await?);
    }
    let now = if args.sent { "accepted" } else { "waiting, and due now" };
    say(&ids, &acted, now, "only a job in doubt can be resolved", as_json)
}

/// The ids, each once.
fn ids(which: Which) -> anyhow::Result<Vec<String>> {
    let mut ids = match which.ids {
        None => which.given,
        Some(file) => ids_in(&file)?,
    };
    ids.sort();
    ids.dedup();
    match ids.iter().any(|id| id.contains('\0')) {
        true => Err(WrongUsage("an id holds a NUL character".into()).into()),
        false => Ok(ids),
    }
}

/// The ids in a file, one on each line.
pub(in crate::cli) fn ids_in(file: &PathBuf) -> anyhow::Result<Vec<String>> {
    Ok(read(file)?.lines().map(|line| line.trim().to_owned()).filter(|id| !id.is_empty()).collect())
}

fn read(file: &PathBuf) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("stdin cannot be read as text")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read as text", file.display()))
}

/// A line for each job. Fails where not all were done.
fn say(ids: &[String], acted: &[Acted], now: &str, rule: &str, as_json: bool) -> anyhow::Result<()> {
    let done = acted.iter().filter(|acted| **acted == Acted::Done).count();
    if as_json {
        let row = |(id, acted): (&String, &Acted)| match acted {
            Acted::Done => json!({ "id": id, "changed": true }),
            Acted::Not(state) => json!({ "id": id, "changed": false, "state": state.as_str() }),
            Acted::Missing => json!({ "id": id, "changed": false, "state": null }),
        };
        let jobs: Vec<_> = ids.iter().zip(acted).map(row).collect();
        output::json(&json!({ "changed": done, "jobs": jobs }))?;
    } else {
        for (id, acted) in ids.iter().zip(acted) {
            let id = clean(id);
            match acted {
                Acted::Done => output::line(&format!("{id} is {now}"))?,
                Acted::Not(state) => eprintln!("error: {id} is {state}: {rule}"),
                Acted::Missing => eprintln!("error: no job has the id {id}"),
            }
        }
    }
    match (ids.len(), done) {
        (0, _) => bail!("no id was given"),
        (all, done) if all == done => Ok(()),
        _ => Err(Reported::Failed.into()),
    }
}
