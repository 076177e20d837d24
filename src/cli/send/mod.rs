//! `dispatcher send`: publishes one job from flags, or many from JSON lines.
//!
//! `decode` judges each by the rules of this configuration, before anything is published; `input`
//! reads lines in chunks; `report` tells how it went.

mod decode;
mod flags;
mod input;
mod report;

use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::decode::Decoder;
use self::flags::JobFlags;
use self::input::Chunk;
use self::report::Report;
use super::connect::PATIENCE;
use super::exit::{Reported, WrongUsage};
use crate::broker::{JobPublisher, Message};
use crate::config::Config;

/// Chunks that may wait while one is being published.
const CHUNKS_AHEAD: usize = 2;
/// For the broker to confirm a chunk. It takes milliseconds, unless the broker is out of memory or disk.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  dispatcher send --id order-1 --mobile 13800138000 --content '您的订单已发货。'
  dispatcher send --id code-7 --mobile 13800138000 --template-id 1 --variable 2546 --priority high
  dispatcher send - < jobs.jsonl
  psql -Atc 'select row_to_json(j) from campaign j' | dispatcher send - --all-or-nothing

A line is a job message with an optional priority, blank lines are skipped:
  {\"id\":\"order-1\",\"mobile\":\"13800138000\",\"content\":\"您的订单已发货。\",\"priority\":\"bulk\"}

One id is sent once: sending the same again is safe. Done means that RabbitMQ has it; what became
of it says `dispatcher jobs show ID`.";

/// Publishes jobs, each confirmed by RabbitMQ.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct SendArgs {
    /// Read JSON lines from stdin
    #[arg(value_name = "-", value_parser = ["-"])]
    input: Option<String>,
    /// Publish nothing if any line is refused
    #[arg(long, requires = "input")]
    all_or_nothing: bool,
    /// Publish lines as they are, without checking them first: what is no job ends in the rejections
    #[arg(long, requires = "input", conflicts_with = "all_or_nothing")]
    unchecked: bool,
    #[command(flatten)]
    job: JobFlags,
}

/// Publishes what was given.
///
/// # Errors
/// When a job is refused, or RabbitMQ does not take it.
pub(super) async fn run(args: SendArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let mut decoder = Decoder::new(config);
    match args.input {
        Some(_) if args.unchecked => lines(decoder.unchecked(), false, config, as_json).await,
        Some(_) => lines(decoder, args.all_or_nothing, config, as_json).await,
        None => {
            let priority = args.job.priority.clone();
            let body = args.job.into_line()?;
            let job = decoder.decode(body.as_bytes()).map_err(|refused| WrongUsage(refused.detail))?;
            let told = format!("published {} as {priority} for {}", job.id, job.mobile);
            let mut publisher = None;
            publish(&mut publisher, config, &[Message::of(&job)]).await?;
            close(publisher).await;
            Report::new(as_json).one(&told)
        }
    }
}

async fn lines(decoder: Decoder, all_or_nothing: bool, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || input::read_stdin(decoder, all_or_nothing, &sender));
    let mut report = Report::new(as_json);
    let outcome = publish_chunks(&mut chunks, &mut report, config).await;
    report.finish()?;
    outcome?;
    if report.refused() > 0 { Err(Reported::Failed.into()) } else { Ok(()) }
}

async fn publish_chunks(
    chunks: &mut mpsc::Receiver<std::io::Result<Chunk>>,
    report: &mut Report,
    config: &Config,
) -> anyhow::Result<()> {
    let mut publisher = None;
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.context("cannot read the jobs")?;
        chunk.refused.iter().try_for_each(|refused| report.refuse(refused))?;
        publish(&mut publisher, config, &chunk.messages).await.map_err(|error| {
            let published = report.published();
            error.context(format!(
                "{published} jobs were published, of the next {} some may have been; send the same again, \
                 no id is sent twice",
                chunk.messages.len()
            ))
        })?;
        report.publish(chunk.messages.len());
    }
    close(publisher).await;
    Ok(())
}

/// All is confirmed: the goodbye only spares RabbitMQ a line in its log.
async fn close(publisher: Option<JobPublisher>) {
    if let Some(publisher) = publisher {
        publisher.close().await;
    }
}

/// What was sent waits in RabbitMQ's sockets, and is taken once the alarm ends.
const UNCONFIRMED: &str = "RabbitMQ confirms nothing: it may be out of memory or disk, `dispatcher check` says more. It \
     may still take it later: send the same again once that is mended, no id is sent twice";

/// Publishes `messages`; connects when there is something to publish.
async fn publish(publisher: &mut Option<JobPublisher>, config: &Config, messages: &[Message]) -> anyhow::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let publisher = match publisher {
        Some(publisher) => publisher,
        None => publisher.insert(connect(config).await?),
    };
    let confirmed = timeout(CONFIRM_PATIENCE, publisher.publish(messages)).await;
    Ok(confirmed.map_err(|_| anyhow!("{UNCONFIRMED}"))??)
}

async fn connect(config: &Config) -> anyhow::Result<JobPublisher> {
    let connecting = JobPublisher::connect(&config.rabbitmq.url, &config.rabbitmq.prefix);
    match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(|error| anyhow!("{error}: `dispatcher check` may say more")),
        Err(_) => Err(anyhow!("RabbitMQ does not answer within {} s: see `dispatcher check`", PATIENCE.as_secs())),
    }
}
