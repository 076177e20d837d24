//! Latency: 200 jobs a second arrive, one every 5 ms, and each is followed from its publisher to the
//! gateway and to Postgres. All parts read the same clock.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::Row as _;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::daemon::Daemon;
use crate::drain::{Contender, yardstick};
use crate::gateway::Gateway;
use crate::process::Process;
use crate::services::{Message, Services, unix_now};

/// Jobs a second.
pub const RATE: u64 = 200;
/// Jobs that are not measured: connections are made during these.
const WARM_UP: u64 = RATE;
/// After its start the daemon takes every number as just used, for the length of `limits.mobile`.
const JUST_USED: Duration = Duration::from_millis(1_200);
/// How long the last jobs may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Milliseconds from publishing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Jobs measured.
    pub jobs: usize,
    pub gateway: Percentiles,
    /// By the time stamp of the transaction that stores the outcome, which Postgres takes at its begin:
    /// the commit, a disk flush, comes after.
    pub accepted: Percentiles,
}

/// Nearest rank, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// Publishes for `seconds` and follows every job.
pub async fn latency(
    contender: Contender,
    seconds: u64,
    name: &str,
    services: &Services,
    gateway: &Gateway,
    directory: &Path,
) -> anyhow::Result<Latency> {
    services.truncate().await?;
    let jobs = WARM_UP + seconds * RATE;
    let before = gateway.taken().await?.submissions;
    let process = start(contender, jobs, services, gateway, directory).await?;
    let published = publish(jobs, name, services).await?;
    timeout(LIMIT, all_stored(jobs, contender, services)).await.context("the jobs do not settle")??;
    process.stop().await?;
    let sent = gateway.taken().await?.submissions - before;
    ensure!(sent == jobs, "{jobs} jobs, but {sent} requests at the gateway");
    let mut seen = HashMap::new();
    for submission in gateway.seen().await? {
        // The last one of a number: an earlier contender had the same.
        seen.insert(submission.mobile.parse::<u64>()?, submission.at);
    }
    let stored = stored(contender, services).await?;
    let since = |times: &HashMap<u64, f64>| {
        published.iter().filter_map(|(mobile, at)| Some((times.get(mobile)? - at) * 1_000.0)).collect()
    };
    Ok(Latency { jobs: published.len(), gateway: percentiles(since(&seen)), accepted: percentiles(since(&stored)) })
}

async fn start(
    contender: Contender,
    jobs: u64,
    services: &Services,
    gateway: &Gateway,
    directory: &Path,
) -> anyhow::Result<Process> {
    if contender != Contender::Dispatcher {
        return yardstick(jobs, services, gateway, contender == Contender::Plain);
    }
    let mut daemon = Daemon::start(services, gateway, directory)?;
    daemon.ready().await?;
    sleep(JUST_USED).await;
    Ok(daemon.process)
}

/// Publishes `jobs` jobs at the rate; returns when each of those measured was, by its number.
async fn publish(jobs: u64, name: &str, services: &Services) -> anyhow::Result<HashMap<u64, f64>> {
    let mut published = HashMap::new();
    let mut confirms = Vec::new();
    let mut beat = interval(Duration::from_secs(1) / RATE as u32);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..jobs {
        beat.tick().await;
        let message = Message::new(name, number);
        if number >= WARM_UP {
            published.insert(message.mobile, unix_now());
        }
        confirms.push(services.send(&message).await?);
    }
    for confirm in confirms {
        confirm.await?;
    }
    Ok(published)
}

/// Waits until all outcomes are in Postgres.
async fn all_stored(jobs: u64, contender: Contender, services: &Services) -> anyhow::Result<()> {
    let mut connection = services.connect().await?;
    let query = match contender {
        Contender::Dispatcher => "select count(*) from jobs where state = 'accepted'",
        _ => "select count(*) from plain_jobs",
    };
    while sqlx::query_scalar::<_, i64>(query).fetch_one(&mut connection).await? < jobs as i64 {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// When each number's outcome was stored, in Unix seconds.
async fn stored(contender: Contender, services: &Services) -> anyhow::Result<HashMap<u64, f64>> {
    let mut connection = services.connect().await?;
    let query = match contender {
        Contender::Dispatcher => "select mobile::bigint, extract(epoch from updated_at)::float8 from jobs",
        _ => "select mobile::bigint, extract(epoch from created_at)::float8 from plain_jobs",
    };
    let rows = sqlx::query(query).fetch_all(&mut connection).await?;
    rows.iter().map(|row| Ok((row.try_get::<i64, _>(0)? as u64, row.try_get(1)?))).collect()
}

fn percentiles(mut times: Vec<f64>) -> Percentiles {
    times.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let index = (times.len() as f64 * share).ceil() as usize;
        times.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    Percentiles { p50: rank(0.5), p99: rank(0.99), max: rank(1.0) }
}
