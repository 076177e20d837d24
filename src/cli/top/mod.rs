//! `dispatcher top`: what the daemon does now, on a terminal.

mod frame;
mod live;
mod scrape;
mod view;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::time::timeout;
use url::Url;

use self::frame::{Frame, Look, Order};
use self::scrape::Scrape;
use self::view::Heading;
use super::{admin, output, when};
use crate::config::{Config, Problems};
use crate::domain::rate::parse_duration;
use crate::store::Store;
use crate::store::query::AccountInfo;
use crate::web::client;

const EXAMPLES: &str = "\
Examples:
  dispatcher top
  dispatcher top --url http://10.0.0.7:9464      # needs no configuration
  dispatcher top --once
  dispatcher top --once --json | jq '.failures[0]'

Keys: q quits, p pauses, s sorts the failures. Rates are those between two looks; totals begin with
the daemon's start. Where stdout is no terminal, one picture is printed as text.";

/// No look at Postgres holds up the picture for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The width of a picture that is printed.
const WIDTH: u16 = 120;
/// Looks are asked for one after another.
const CONNECTIONS: u32 = 1;

/// Shows rates, queues, limiters, accounts and failures by code, live.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// The daemon's admin listener [default: admin.listen of the configuration]
    #[arg(long, value_parser = admin::parse_url)]
    url: Option<Url>,
    /// Between two looks: 200ms to 1h
    #[arg(long, default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    /// Print one picture as text, after one interval, and end
    #[arg(long)]
    once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    let range = Duration::from_millis(200)..=Duration::from_secs(3_600);
    if range.contains(&interval) { Ok(interval) } else { Err("write 200ms to 1h".into()) }
}

/// Runs until `q`, or once.
///
/// # Errors
/// When the daemon does not answer to `--once`, or the terminal fails.
pub(super) async fn run(args: TopArgs, loaded: Result<Config, Problems>, as_json: bool) -> anyhow::Result<()> {
    // A daemon elsewhere has a file of its own.
    let config = if args.url.is_some() { loaded.ok() } else { Some(loaded?) };
    let eye = Eye::open(args.url, config)?;
    if args.once || as_json || !std::io::stdout().is_terminal() {
        return once(&eye, args.interval, as_json).await;
    }
    live::run(&eye, args.interval).await
}

async fn once(eye: &Eye, interval: Duration, as_json: bool) -> anyhow::Result<()> {
    let (before, begun) = (eye.look().await, Instant::now());
    tokio::time::sleep(interval).await;
    let now = eye.look().await;
    let frame = frame::frame(&before, &now, begun.elapsed(), Order::default());
    match as_json {
        true => output::json(&frame)?,
        false => output::line(&printed(&frame, eye.metrics_url.as_str()))?,
    }
    // The picture names what could not be asked, as far as there is room.
    now.metrics.map(drop).map_err(|problem| anyhow!(problem))
}

fn printed(frame: &Frame, url: &str) -> String {
    let time = when::show(chrono::Utc::now());
    let heading = Heading { url, time: &time, live: false, paused: false, order: Order::default() };
    let area = Rect::new(0, 0, WIDTH, view::height(frame));
    let mut buffer = Buffer::empty(area);
    view::draw(frame, &heading, area, &mut buffer);
    view::text(&buffer)
}

/// Where looks are taken.
struct Eye {
    metrics_url: Url,
    /// Nobody to ask where there is no configuration.
    store: Option<Store>,
}

impl Eye {
    fn open(url: Option<Url>, config: Option<Config>) -> anyhow::Result<Eye> {
        let url = match (url, &config) {
            (Some(url), _) => url,
            (None, Some(config)) => admin::url_of(config)?,
            (None, None) => bail!("no address: name one with --url"),
        };
        let store = config.map(|config| Store::new(&config.postgres.url, CONNECTIONS, PATIENCE)).transpose()?;
        Ok(Eye { metrics_url: url.join("/metrics")?, store })
    }

    /// Asks the daemon and Postgres, side by side. What does not answer holds up nothing else.
    async fn look(&self) -> Look {
        let (metrics, accounts) = tokio::join!(metrics(&self.metrics_url), self.accounts());
        Look { metrics: metrics.map_err(|error| format!("{error:#}")), accounts }
    }

    async fn accounts(&self) -> Result<Vec<AccountInfo>, String> {
        let Some(store) = self.store.clone() else {
            return Err("not configured here: why an account is paused is not shown".into());
        };
        // Spawned, because a query that is cancelled half-way spoils its connection.
        let asked = tokio::spawn(async move { store.list_account_info().await });
        match timeout(PATIENCE, asked).await {
            Ok(Ok(accounts)) => accounts.map_err(|error| error.to_string()),
            Ok(Err(_)) | Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

async fn metrics(url: &Url) -> anyhow::Result<Scrape> {
    let (status, body) = client::get(url)
        .await
        .map_err(|error| anyhow!("{url}: {error}: is the daemon running? name its admin listener with --url"))?;
    match status.is_success() {
        true => Ok(Scrape::parse(&String::from_utf8_lossy(&body))),
        false => Err(anyhow!("{url} answers {status}: is this the admin listener of a dispatcher?")),
    }
}
