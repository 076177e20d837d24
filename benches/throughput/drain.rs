//! Throughput: a backlog is drained.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::Daemon;
use crate::gateway::{Gateway, Taken};
use crate::process::{Process, machine_cpu_seconds};
use crate::services::{Message, Services};

/// The longest that a run may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Jobs that are not measured: connections and statements are made during these, and the daemon has
/// this many decoded when the second ends in which every number counts as just used.
const WARM_UP: u64 = 2_000;

/// Who drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// The whole chain.
    Dispatcher,
    /// A worker with one INSERT a job.
    Plain,
    /// The same without Postgres.
    Floor,
}

impl Contender {
    /// As it is written in tables and options.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Dispatcher => "dispatcher",
            Contender::Plain => "plain",
            Contender::Floor => "floor",
        }
    }
}

/// What one run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Drain {
    /// Until the outcome of the last one was committed (or, for `floor`, acknowledged).
    pub jobs_per_second: f64,
    /// Until the last one was at the gateway.
    pub at_gateway_per_second: f64,
    /// CPU seconds of the contender's process.
    pub cpu_per_1000: f64,
    /// CPU seconds of the whole machine: broker, Postgres, gateway, this program, and strangers.
    pub machine_cpu_per_1000: f64,
    /// The most memory the process held.
    pub peak_mib: f64,
    /// Transactions that Postgres counted from the process's start to its end, a job.
    pub statements_per_job: f64,
    /// Of these, the group commits of the job's path, as the daemon counts them.
    pub batches_per_job: Option<f64>,
}

/// A contender's process.
enum Running {
    Daemon(Daemon),
    Yardstick(Process),
}

/// A moment of a run.
struct Mark {
    at: Instant,
    taken: u64,
    cpu: f64,
    machine: f64,
}

/// Publishes `jobs` jobs, then starts the contender and measures until all are done. `name` must be
/// new: it makes the ids.
pub async fn drain(
    contender: Contender,
    jobs: u64,
    name: &str,
    services: &mut Services,
    gateway: &Gateway,
    directory: &Path,
) -> anyhow::Result<Drain> {
    services.truncate().await?;
    services.publish((0..jobs).map(|number| Message::new(name, number))).await?;
    let transactions = services.transactions().await?;
    let before = gateway.taken().await?;
    let mut running = Running::start(contender, jobs, services, gateway, directory)?;
    let taken = |count: u64| before.submissions + count;
    let warm = running.until(gateway, taken(WARM_UP.min(jobs / 4))).await?;
    let sent = running.until(gateway, taken(jobs)).await?;
    timeout(LIMIT, running.settled(jobs)).await.context("the jobs do not settle")??;
    let end = running.mark(sent.taken)?;
    let batches_per_job = match &running {
        Running::Daemon(daemon) => Some(daemon.batches().await? / jobs as f64),
        Running::Yardstick(_) => None,
    };
    let peak_mib = running.process().peak_mib()?;
    running.stop().await?;
    check(before, gateway.taken().await?, jobs, services).await?;
    let measured = (taken(jobs) - warm.taken) as f64;
    Ok(Drain {
        jobs_per_second: measured / (end.at - warm.at).as_secs_f64(),
        at_gateway_per_second: measured / (sent.at - warm.at).as_secs_f64(),
        cpu_per_1000: (end.cpu - warm.cpu) / measured * 1_000.0,
        machine_cpu_per_1000: (end.machine - warm.machine) / measured * 1_000.0,
        peak_mib,
        statements_per_job: (services.transactions().await? - transactions) as f64 / jobs as f64,
        batches_per_job,
    })
}

/// A fast answer is worth nothing if it is wrong: each job was sent once and taken, and none is left.
async fn check(before: Taken, after: Taken, jobs: u64, services: &Services) -> anyhow::Result<()> {
    let (sent, taken) = (after.submissions - before.submissions, after.accepted - before.accepted);
    ensure!(sent == jobs && taken == jobs, "{jobs} jobs, but {sent} requests at the gateway, {taken} of them taken");
    let left = services.depth().await?;
    ensure!(left == 0, "{left} messages went back to the queue: they were not acknowledged");
    Ok(())
}

impl Running {
    fn start(
        contender: Contender,
        jobs: u64,
        services: &Services,
        gateway: &Gateway,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        match contender {
            Contender::Dispatcher => Ok(Running::Daemon(Daemon::start(services, gateway, directory)?)),
            Contender::Plain => yardstick(jobs, services, gateway, true).map(Running::Yardstick),
            Contender::Floor => yardstick(jobs, services, gateway, false).map(Running::Yardstick),
        }
    }

    fn process(&mut self) -> &mut Process {
        match self {
            Running::Daemon(daemon) => &mut daemon.process,
            Running::Yardstick(process) => process,
        }
    }

    fn mark(&mut self, taken: u64) -> anyhow::Result<Mark> {
        let cpu = self.process().cpu_seconds()?;
        Ok(Mark { at: Instant::now(), taken, cpu, machine: machine_cpu_seconds()? })
    }

    /// Waits until the gateway has taken `count`.
    async fn until(&mut self, gateway: &Gateway, count: u64) -> anyhow::Result<Mark> {
        let end = Instant::now() + LIMIT;
        loop {
            let taken = gateway.taken().await?.submissions;
            if taken >= count {
                return self.mark(taken);
            }
            self.process().check_alive()?;
            if Instant::now() > end {
                bail!("only {taken} of {count} requests came within {} s", LIMIT.as_secs());
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the outcome of all `jobs` is committed, or acknowledged.
    async fn settled(&mut self, jobs: u64) -> anyhow::Result<()> {
        match self {
            Running::Daemon(daemon) => {
                while daemon.settled().await? < jobs {
                    sleep(LOOK).await;
                }
            }
            Running::Yardstick(process) => drop(process.line().await?),
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Running::Daemon(daemon) => daemon.process.stop().await,
            Running::Yardstick(process) => process.stop().await,
        }
    }
}

/// This program once more, as a yardstick.
pub fn yardstick(jobs: u64, services: &Services, gateway: &Gateway, postgres: bool) -> anyhow::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["plain", "--amqp-url", services.amqp_url(), "--queue", &services.queue()]);
    command.args(["--submit-url", &gateway.submit_url(), "--jobs", &jobs.to_string()]);
    if postgres {
        command.args(["--database-url", services.database_url()]);
    }
    Process::talking("yardstick", command.stderr(Stdio::inherit()))
}
