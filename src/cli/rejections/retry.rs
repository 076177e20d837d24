//! `dispatcher rejections retry`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::reason_parser;
use crate::cli::exit::{Reported, WrongUsage};
use crate::cli::table::clean;
use crate::cli::{connect, jobs, output, when, who};
use crate::config::Config;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;
use crate::domain::rate::Rate;
use crate::domain::replay;
use crate::store::Store;
use crate::store::operate::{ReplayInfo, RetryChoice, RetryOrder, RetryPreview};

/// A replay that takes longer by its rate is not waited for, in seconds.
const LONG: f64 = 60.0;
/// Beyond the time that it takes by its rate.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  dispatcher rejections retry 17 --reason 'account added to the configuration'
  dispatcher rejections retry --refused-for unknown_account --since 2h --dry-run
  dispatcher rejections retry --refused-for unknown_account --since 2h --rate 10/s --canary 5

The choice is frozen when it begins, and a running daemon carries it out: it is a replay, which
`dispatcher replay` shows, pauses, resumes and cancels. A crash does not stop it. Each message is
judged anew, and what is still no valid job is refused anew. What was published again before is left
out, and two retries over the same message publish it once. It exits 1 where one that was waited for is not
through (does the daemon run?), or messages were refused again; what takes over a minute by its rate is
not waited for. After a crash one may be published a
second time: its job is recognised by its id, and without an id it is only refused a second time.";

/// Publishes refused messages again as they were received, once the cause is mended
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RetryArgs {
    /// Their numbers in the list
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
    /// The numbers in this file, one on each line; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "ids")]
    ids_file: Option<PathBuf>,
    /// Refused for this reason
    #[arg(long, value_name = "REASON", value_parser = reason_parser())]
    refused_for: Option<RejectReason>,
    /// Received then or later
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Received before
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<Timestamp>,
    /// Also those that were published again before
    #[arg(long)]
    again: bool,
    /// How fast [default: 100/s]
    #[arg(long, value_name = "RATE", value_parser = Rate::parse)]
    rate: Option<Rate>,
    /// So many first; the others only once none of those was refused again
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(replay::MAX_CANARY)))]
    canary: u32,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What has come of it so far.
struct Retried {
    /// The replay, and how far it is.
    info: ReplayInfo,
    published: i64,
    left: i64,
    /// Whether its end was waited for.
    waited: bool,
}

/// Begins the replay of what the flags choose, and waits for its end if that is near.
pub(super) async fn run(args: RetryArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let RetryArgs { ids, ids_file, refused_for: reason, since, until, again, rate, canary, dry_run, .. } = args;
    let ids = match ids_file {
        Some(file) => numbers(&jobs::ids_in(&file)?)?,
        None => ids,
    };
    let choice = RetryChoice { ids, reason, since, until, again };
    if choice.is_empty() {
        let problem = "name which messages: by number, --ids-file, --refused-for, --since or --until";
        return Err(WrongUsage(problem.into()).into());
    }
    let store = connect::migrated_store(config).await?;
    let found = store.preview_retry(&choice).await?;
    let rate = rate.unwrap_or(Rate::per_second(replay::RATE)).each_second();
    let order = RetryOrder { choice, rate, canary };
    let begun = if dry_run { None } else { store.begin_retry(&who::operator(args.reason), &order).await? };
    let retried = match begun {
        Some((id, matched)) => Some(wait(&store, id, matched as f64 / rate).await?),
        None => None,
    };
    say(&order.choice, &found, retried.as_ref(), as_json)
}

/// The numbers of a file, each once.
fn numbers(lines: &[String]) -> anyhow::Result<Vec<i64>> {
    let numbers: Result<BTreeSet<i64>, _> = lines.iter().map(|line| line.parse()).collect();
    Ok(numbers.map_err(|_| anyhow!("the file holds what is no number of a rejection"))?.into_iter().collect())
}

/// Looks until the replay has ended, for some seconds more than it takes by its rate; one that takes long goes on alone.
async fn wait(store: &Store, id: i64, seconds: f64) -> anyhow::Result<Retried> {
    let patience = if seconds < LONG { PATIENCE + Duration::from_secs_f64(seconds) } else { Duration::ZERO };
    let (until, waited) = (Instant::now() + patience, !patience.is_zero());
    loop {
        let info = store.find_replay(id).await?.context("the replay is gone")?;
        let count = |words: &[&str]| words.iter().filter_map(|word| info.results.get(*word)).sum::<i64>();
        let (published, left) = (count(&["sent", "taken", "refused"]), count(&["pending", "sending"]));
        if info.state != "running" || Instant::now() >= until {
            return Ok(Retried { info, published, left, waited });
        }
        sleep(LOOK).await;
    }
}

/// What was found and done. Numbers that were named and not found are a failure, and so is what went wrong.
fn say(choice: &RetryChoice, found: &RetryPreview, retried: Option<&Retried>, as_json: bool) -> anyhow::Result<()> {
    let missing = choice.ids.len() as i64 - found.matched - found.already;
    match (as_json, retried) {
        (true, _) => {
            let mut value = serde_json::to_value(found)?;
            value["replay"] = json!(retried.map(|retried| retried.info.id));
            value["published"] = json!(retried.map_or(0, |retried| retried.published));
            value["left"] = json!(retried.map_or(found.matched, |retried| retried.left));
            value["results"] = json!(retried.map(|retried| &retried.info.results));
            output::json(&value)?;
        }
        (false, None) => output::line(&preview(found))?,
        (false, Some(retried)) => output::line(&progress(retried))?,
    }
    if found.already > 0 {
        eprintln!("left out: {} that were published again before; --again takes them too", found.already);
    }
    if missing > 0 {
        eprintln!(
            "error: {missing} of the numbers name no rejection whose message is there: see `dispatcher rejections list`"
        );
    }
    let wrong = retried.map(|Retried { info, left, waited, .. }| {
        wrong(info.id, &info.state, if *waited { *left } else { 0 }, &info.results)
    });
    let wrong = wrong.unwrap_or_default();
    wrong.iter().for_each(|problem| eprintln!("error: {problem}"));
    match missing > 0 || !wrong.is_empty() {
        true => Err(Reported::Failed.into()),
        false => Ok(()),
    }
}

/// What is not as it was asked for, with the cure; `left` were waited for in vain.
fn wrong(replay: i64, state: &str, left: i64, results: &BTreeMap<String, i64>) -> Vec<String> {
    let count = |word: &str| results.get(word).copied().unwrap_or_default();
    let cure = match state {
        "running" => "does a daemon run? It carries them out when it does".to_owned(),
        "paused" => format!("the replay is paused: `dispatcher replay resume {replay}` lets them go"),
        _ => format!("the replay is {state}: choose them again"),
    };
    [
        (left, "still to be published", cure.as_str()),
        (count("refused"), "refused again", "`dispatcher rejections list` tells why; mend that, and retry those"),
        (count("failed"), "not taken back by RabbitMQ, too large by now", "have the publisher send those anew"),
    ]
    .into_iter()
    .filter(|(messages, ..)| *messages > 0)
    .map(|(messages, what, cure)| format!("{messages} {what}: {cure}"))
    .collect()
}

fn progress(retried: &Retried) -> String {
    let Retried { info, published, left, .. } = retried;
    let messages = |count: i64| format!("{count} message{}", if count == 1 { "" } else { "s" });
    let look = format!("see `dispatcher replay show {} --jobs`", info.id);
    let results: Vec<String> = info.results.iter().map(|(result, count)| format!("{count} {result}")).collect();
    let results = results.join(", ");
    match (*left, info.note.as_deref()) {
        (_, Some(note)) => format!("replay {} is {}: {}\n{results}; {look}", info.id, info.state, clean(note)),
        (0, None) => format!("published {} again: {results}; {look}", messages(*published)),
        (left, None) => format!(
            "replay {} has begun: {} at up to {}/s, {left} of them still to be published by a running daemon; {look}",
            info.id,
            messages(info.matched),
            info.rate
        ),
    }
}

fn preview(found: &RetryPreview) -> String {
    let mut lines = vec![format!("messages  {}", found.matched)];
    lines.extend(found.oldest.map(|at| format!("oldest    {} ({})", when::show(at), when::zone(at))));
    lines.extend(found.newest.map(|at| format!("newest    {} ({})", when::show(at), when::zone(at))));
    lines.extend(found.by_reason.iter().map(|(reason, messages)| format!("refused   {reason}: {messages}")));
    lines.push("nothing was changed".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_with_its_cure() {
        let results = |counts: &[(&str, i64)]| counts.iter().map(|(word, count)| ((*word).into(), *count)).collect();
        assert!(wrong(7, "done", 0, &results(&[("taken", 3), ("gone", 1)])).is_empty());
        assert!(wrong(7, "running", 0, &results(&[("pending", 500)])).is_empty(), "it was not waited for");
        let idle = wrong(7, "running", 2, &results(&[("pending", 2)]));
        assert!(idle.len() == 1 && idle[0].starts_with("2 still to be published: does a daemon run?"), "{idle:?}");
        let paused = wrong(7, "paused", 2, &results(&[("pending", 2), ("refused", 1)]));
        assert!(paused[0].contains("dispatcher replay resume 7"), "{paused:?}");
        assert!(paused[1].starts_with("1 refused again: `dispatcher rejections list`"), "{paused:?}");
        let failed = wrong(7, "done", 0, &results(&[("taken", 1), ("failed", 1)]));
        assert!(failed.len() == 1 && failed[0].starts_with("1 not taken back by RabbitMQ"), "{failed:?}");
    }
}
