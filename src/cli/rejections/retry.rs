//! `dispatcher rejections retry`.

use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use super::reason_parser;
use crate::app;
use crate::broker::JobPublisher;
use crate::cli::connect::PATIENCE;
use crate::cli::exit::{Reported, WrongUsage};
use crate::cli::{output, when, who};
use crate::config::Config;
use crate::domain::job::Timestamp;
use crate::domain::message::RejectReason;
use crate::domain::rate::Rate;
use crate::domain::replay;
use crate::store::Store;
use crate::store::operate::{RetryChoice, RetryPreview};

/// Messages that are published together, at most.
const CHUNK: u32 = 100;

const EXAMPLES: &str = "\
Examples:
  dispatcher rejections retry 17 --reason 'account added to the configuration'
  dispatcher rejections retry --refused-for unknown_account --since 2h --dry-run
  dispatcher rejections retry --refused-for unknown_account --since 2h --rate 10/s --reason 'account added'

The choice is frozen when it begins; each message is judged anew, and what is still no valid job is
refused anew. What was published again before is left out, so that a command that was interrupted can
be typed again. A job that was taken meanwhile is recognised by its id.";

/// Publishes refused messages again as they were received, once the cause is mended
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RetryArgs {
    /// Their numbers in the list
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
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
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Publishes what the flags choose, at their rate.
pub(super) async fn run(args: RetryArgs, config: &Config, store: &Store, as_json: bool) -> anyhow::Result<()> {
    let RetryArgs { ids, refused_for: reason, since, until, again, .. } = args;
    let choice = RetryChoice { ids, reason, since, until, again };
    if choice.is_empty() {
        return Err(WrongUsage("name which messages: by number, --refused-for, --since or --until".into()).into());
    }
    let found = store.preview_retry(&choice).await?;
    if args.dry_run || found.matched == 0 {
        return say(&choice, &found, 0, as_json);
    }
    let publisher = timeout(PATIENCE, JobPublisher::connect(&config.rabbitmq.url, &config.rabbitmq.prefix))
        .await
        .map_err(|_| anyhow!("RabbitMQ does not answer within {} s", PATIENCE.as_secs()))??;
    let (by, rate) = (who::operator(args.reason), args.rate.unwrap_or(Rate::per_second(replay::RATE)).each_second());
    // No more at a time than the rate allows within a second.
    let chunk = (rate as u32).clamp(1, CHUNK);
    let (mut published, mut after, mut next) = (0, 0, Instant::now());
    loop {
        sleep_until(next).await;
        let sent = app::publish_again(store, &publisher, &by, &choice, (after, found.last), chunk).await;
        let Some((count, end)) = sent.inspect_err(|_| eprintln!("published before: {published}"))? else { break };
        (published, after) = (published + count, end);
        next += Duration::from_secs_f64(count as f64 / rate);
    }
    publisher.close().await;
    say(&choice, &found, published, as_json)
}

/// What was found and done. Numbers that were named and not found are a failure.
fn say(choice: &RetryChoice, found: &RetryPreview, published: usize, as_json: bool) -> anyhow::Result<()> {
    let missing = choice.ids.len() as i64 - found.matched - found.already;
    match (as_json, published) {
        (true, _) => {
            let mut value = serde_json::to_value(found)?;
            value["published"] = json!(published);
            output::json(&value)?;
        }
        (false, 0) => output::line(&preview(found))?,
        (false, _) => {
            let plural = if published == 1 { "" } else { "s" };
            output::line(&format!(
                "published {published} message{plural} again; what is still no valid job is refused anew"
            ))?;
        }
    }
    if found.already > 0 {
        eprintln!("left out: {} that were published again before; --again takes them too", found.already);
    }
    if missing > 0 {
        eprintln!(
            "error: {missing} of the numbers name no rejection whose message is there: see `dispatcher rejections list`"
        );
        return Err(Reported::Failed.into());
    }
    Ok(())
}

fn preview(found: &RetryPreview) -> String {
    let mut lines = vec![format!("messages  {}", found.matched)];
    lines.extend(found.oldest.map(|at| format!("oldest    {} ({})", when::show(at), when::zone(at))));
    lines.extend(found.newest.map(|at| format!("newest    {} ({})", when::show(at), when::zone(at))));
    lines.extend(found.by_reason.iter().map(|(reason, messages)| format!("refused   {reason}: {messages}")));
    lines.push("nothing was changed".into());
    lines.join("\n")
}
