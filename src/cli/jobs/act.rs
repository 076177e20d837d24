//! `dispatcher jobs cancel` and `dispatcher jobs resolve`.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::JobFlags;
use crate::cli::exit::{Reported, WrongUsage};
use crate::cli::table::clean;
use crate::cli::{output, who};
use crate::domain::receipt::is_smsid;
use crate::store::Store;
use crate::store::operate::{Acted, JobAct, Operator};
use crate::store::query::JobFilter;

const CANCEL_EXAMPLES: &str = "\
Examples:
  dispatcher jobs cancel order-1 --reason 'order withdrawn'
  dispatcher jobs cancel --account main --since 2h              says how many
  dispatcher jobs cancel --account main --since 2h --yes --reason 'wrong template'

Only a job that is waiting or queued can be withdrawn. Chosen by flags, it takes --yes: without it
you see what would be done.";

const RESOLVE_EXAMPLES: &str = "\
Examples:
  dispatcher jobs resolve order-1 --sent --smsid 17000000000000001
  dispatcher jobs resolve order-1 order-2 --not-sent --reason 'not in the console of ihuyi'
  dispatcher jobs resolve --ids doubts.txt --sent
  dispatcher jobs resolve --since 2026-11-11T10:00:00+08:00 --until 2h --sent --yes

Chosen by flags, it takes --yes: without it you see what would be done. Look the number up in
ihuyi's console first: --not-sent sends the message again.";

#[derive(Debug, Args)]
struct Which {
    /// The jobs' ids
    #[arg(value_name = "ID", conflicts_with = "ids")]
    given: Vec<String>,
    /// A file with an id on each line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    #[command(flatten)]
    jobs: JobFlags,
    /// Do it with all that the flags choose
    #[arg(long)]
    yes: bool,
}

/// What was named.
enum Chosen {
    /// These.
    Ids(Vec<String>),
    /// All that flags choose; looked at first unless it was said that it is meant.
    By(JobFilter, bool),
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
    #[arg(long, conflicts_with = "not_sent")]
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
    let by = who::operator(args.reason);
    let act = JobAct::Cancel;
    let ids = match chosen(args.which, &act)? {
        Chosen::Ids(ids) => ids,
        Chosen::By(filter, yes) => return many(store, &by, &filter, yes, &act, as_json).await,
    };
    let acted = store.act_on_jobs(&by, &act, &ids, None).await?;
    say(&ids, &acted, "cancelled", "only a job that is waiting or queued can be withdrawn", as_json)
}

pub(super) async fn resolve(args: ResolveArgs, store: &Store, as_json: bool) -> anyhow::Result<()> {
    if !args.sent && !args.not_sent {
        let problem = "say what you found out: --sent, ihuyi took the message; or --not-sent, it is sent again";
        return Err(WrongUsage(problem.into()).into());
    }
    let act = if args.sent { JobAct::Sent(args.smsid.clone()) } else { JobAct::NotSent };
    let chosen = chosen(args.which, &act)?;
    if args.smsid.is_some() && !matches!(&chosen, Chosen::Ids(ids) if ids.len() == 1) {
        return Err(WrongUsage("--smsid belongs to one message: name one job".into()).into());
    }
    if args.smsid.as_ref().is_some_and(|smsid| !is_smsid(smsid)) {
        return Err(WrongUsage("--smsid is none: copy ihuyi's id of the message, or leave it out".into()).into());
    }
    let by = who::operator(args.reason);
    let ids = match chosen {
        Chosen::Ids(ids) => ids,
        Chosen::By(filter, yes) => return many(store, &by, &filter, yes, &act, as_json).await,
    };
    let acted = store.act_on_jobs(&by, &act, &ids, None).await?;
    let now = if args.sent { "accepted" } else { "waiting, and due now" };
    say(&ids, &acted, now, "only a job in doubt can be resolved", as_json)
}

/// All that `filter` chooses; without `yes` they are only counted.
async fn many(
    store: &Store,
    by: &Operator,
    filter: &JobFilter,
    yes: bool,
    act: &JobAct,
    as_json: bool,
) -> anyhow::Result<()> {
    let states = store.count_jobs(filter).await?;
    let matched: i64 = states.values().sum();
    let mut changed = Vec::new();
    if yes {
        let done = store.act_on_many(by, act, filter, None, &mut changed).await;
        done.with_context(|| format!("broke off after {} jobs were changed", changed.len()))?;
    }
    let changed = changed.len();
    if let Some(mobile) = filter.mobile
        && (!yes || matched == 0)
    {
        // It found out as much as a list does. An act has a row of its own.
        store.note_search(by, mobile, matched).await?;
    }
    if as_json {
        return output::json(&json!({ "dry_run": !yes, "matched": matched, "by_state": states, "changed": changed }));
    }
    output::line(&format!("jobs      {matched}"))?;
    states.iter().try_for_each(|(state, jobs)| output::line(&format!("{state:<9} {jobs}")))?;
    match yes {
        true if (changed as i64) < matched => {
            output::line(&format!("changed   {changed}; the others had gone elsewhere meanwhile"))
        }
        true => output::line(&format!("changed   {changed}")),
        false if matched > 0 => output::line("nothing was changed: add --yes"),
        false => output::line("nothing was changed"),
    }
}

/// The ids, each once, or a filter whose states are those of the act.
fn chosen(which: Which, act: &JobAct) -> anyhow::Result<Chosen> {
    let Which { given, ids, jobs, yes } = which;
    if !jobs.is_empty() {
        if !given.is_empty() || ids.is_some() {
            return Err(WrongUsage("name jobs by their ids or by flags, not both".into()).into());
        }
        let mut filter = jobs.filter();
        filter.states = act.states(&filter.states).map_err(|problem| WrongUsage(format!("--state {problem}")))?;
        return Ok(Chosen::By(filter, yes));
    }
    let mut ids = match ids {
        None if given.is_empty() => {
            let problem = "name which jobs: their ids, --ids, --state, --code, --account, --mobile, --since or --until";
            return Err(WrongUsage(problem.into()).into());
        }
        None => given,
        Some(file) => ids_in(&file)?,
    };
    ids.sort();
    ids.dedup();
    match ids.iter().any(|id| id.contains('\0')) {
        true => Err(WrongUsage("an id holds a NUL character".into()).into()),
        false => Ok(Chosen::Ids(ids)),
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
    let done = acted.iter().filter(|acted| acted.done().is_some()).count();
    if as_json {
        let row = |(id, acted): (&String, &Acted)| match acted {
            Acted::Done(_) => json!({ "id": id, "changed": true }),
            Acted::Not(state) => json!({ "id": id, "changed": false, "state": state.as_str() }),
            Acted::Taken { by, .. } => json!({ "id": id, "changed": false, "state": "in_doubt", "smsid_of": by }),
            Acted::Missing => json!({ "id": id, "changed": false, "state": null }),
        };
        let jobs: Vec<_> = ids.iter().zip(acted).map(row).collect();
        output::json(&json!({ "changed": done, "jobs": jobs }))?;
    } else {
        for (id, acted) in ids.iter().zip(acted) {
            let id = clean(id);
            match acted {
                Acted::Done(_) => output::line(&format!("{id} is {now}"))?,
                Acted::Not(state) => eprintln!("error: {id} is {state}: {rule}"),
                Acted::Taken { smsid, by } => {
                    eprintln!("error: {id} stays in doubt: {smsid} is the smsid of job {}", clean(by));
                }
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
