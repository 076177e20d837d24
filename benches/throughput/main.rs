//! `make bench`: throughput, cost and latency of the whole chain, from RabbitMQ to Postgres.
//!
//! Drives the built `dispatcher` as child processes on real services (`AMQP_URL`, `DATABASE_URL`),
//! with a database and queues of its own that are removed at the end, and beside it two yardsticks
//! (`plain.rs`) in the same run, one after the other in several rounds, because a machine is never
//! twice the same. Everything stays on the loopback interface but what the two URLs name.

mod daemon;
mod drain;
mod gateway;
mod latency;
mod mobiles;
mod plain;
mod process;
mod report;
mod services;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use sqlx::Connection as _;
use tokio::process::Command;

use crate::drain::{Contender, drain};
use crate::gateway::Gateway;
use crate::process::Process;
use crate::report::{Load, Report, Round};
use crate::services::Services;

/// The program under test.
const DISPATCHER: &str = env!("CARGO_BIN_EXE_dispatcher");

/// Measures the whole chain: jobs a second, CPU, memory, statements, latency.
///
/// Needs AMQP_URL and DATABASE_URL; the role must be allowed to create a database.
#[derive(Debug, Parser)]
#[command(name = "throughput", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// One round of fewer jobs: under a minute, and a rough picture
    #[arg(long)]
    quick: bool,
    /// Prints JSON, with every round
    #[arg(long)]
    json: bool,
    /// Rounds of a backlog
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Jobs of a backlog, for every contender
    #[arg(long)]
    jobs: Option<u64>,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Only these contenders
    #[arg(long, value_enum, value_delimiter = ',')]
    contender: Vec<Contender>,
    /// Cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

/// What this program does in a process of its own.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Part {
    #[command(hide = true)]
    Plain(plain::PlainArgs),
    #[command(hide = true)]
    Mobiles { numbers: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// A backlog, the gateway answering at once
    #[value(name = "0ms")]
    AtOnce,
    /// A backlog, the gateway answering after 50 ms
    #[value(name = "50ms")]
    Slow,
    /// 200 jobs a second
    Latency,
    /// Ten million numbers in the limiter
    Mobiles,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match &cli.part {
        Some(Part::Mobiles { numbers }) => mobiles::run(*numbers),
        // As many threads as the daemon has.
        Some(Part::Plain(args)) => tokio::runtime::Runtime::new()?.block_on(plain::run(args.clone())),
        None => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&cli)),
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut services = Services::prepare().await?;
    let measured = tokio::select! {
        measured = measure(cli, &mut services, directory.path()) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    services.remove().await.context("the database and the queues of this run could not be removed")?;
    let mut report = measured.inspect_err(|_| show_log(directory.path()))?;
    report.judge();
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// The daemon's last words, for a run that failed.
fn show_log(directory: &Path) {
    let log = std::fs::read_to_string(directory.join("dispatcher.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(20)).for_each(|line| eprintln!("  daemon: {line}"));
}

async fn measure(cli: &Cli, services: &mut Services, directory: &Path) -> anyhow::Result<Report> {
    prepare_tables(services).await?;
    let mut report = Report { cores: std::thread::available_parallelism()?.get(), ..Default::default() };
    if cli.measures(Measurement::Mobiles) {
        report.mobiles = Some(track_mobiles(if cli.quick { 1_000_000 } else { 10_000_000 }).await?);
    }
    if cli.measures(Measurement::Latency) {
        let gateway = Gateway::start(Duration::ZERO, 100_000).await?;
        let seconds = if cli.quick { 4 } else { 10 };
        for contender in [Contender::Dispatcher, Contender::Plain] {
            if cli.runs(contender) {
                let name = format!("latency-{}", contender.name());
                eprintln!("{name}");
                let seen = latency::latency(contender, seconds, &name, services, &gateway, directory).await?;
                report.latency.insert(contender.name(), seen);
            }
        }
        gateway.stop().await?;
    }
    for (measurement, ms) in [(Measurement::AtOnce, 0), (Measurement::Slow, 50)] {
        if cli.measures(measurement) {
            report.loads.push(load(cli, ms, services, directory).await?);
        }
    }
    Ok(report)
}

impl Cli {
    fn measures(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&measurement)
    }

    fn runs(&self, contender: Contender) -> bool {
        self.contender.is_empty() || self.contender.contains(&contender)
    }

    /// So many that a run takes some 5 s on a small machine.
    fn jobs(&self, contender: Contender, ms: u64) -> u64 {
        let jobs = match (contender, ms) {
            (Contender::Plain, _) => 12_000,
            (_, 0) => 40_000,
            _ => 20_000,
        };
        self.jobs.unwrap_or(if self.quick { jobs / 2 } else { jobs })
    }
}

/// The daemon's tables, by its own command, and the yardstick's.
async fn prepare_tables(services: &Services) -> anyhow::Result<()> {
    let mut command = Command::new(DISPATCHER);
    command.arg("migrate").env("DISPATCHER__POSTGRES__URL", services.database_url());
    command.env("DISPATCHER__RABBITMQ__URL", services.amqp_url());
    let made = command.output().await?;
    anyhow::ensure!(made.status.success(), "dispatcher migrate: {}", String::from_utf8_lossy(&made.stderr));
    let mut connection = services.connect().await?;
    sqlx::raw_sql(plain::TABLE).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

async fn track_mobiles(numbers: u64) -> anyhow::Result<mobiles::Mobiles> {
    eprintln!("limiter: {numbers} numbers");
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = Process::talking("limiter", command.args(["mobiles", &numbers.to_string()]))?;
    Ok(serde_json::from_str(&process.line().await?)?)
}

/// The contenders, one after the other, in rounds.
async fn load(cli: &Cli, ms: u64, services: &mut Services, directory: &Path) -> anyhow::Result<Load> {
    let gateway = Gateway::start(Duration::from_millis(ms), 0).await?;
    let mut rounds = Vec::new();
    for number in 1..=if cli.quick { 1 } else { cli.rounds } {
        let mut round = Round::default();
        for contender in [Contender::Dispatcher, Contender::Plain, Contender::Floor] {
            if !cli.runs(contender) {
                continue;
            }
            let name = format!("{ms}ms-{number}-{}", contender.name());
            let jobs = cli.jobs(contender, ms);
            let drained = drain(contender, jobs, &name, services, &gateway, directory).await?;
            let (rate, cpu) = (drained.jobs_per_second, drained.cpu_per_1000);
            eprintln!("{name}: {rate:.0} jobs/s, {cpu:.3} s CPU per 1,000");
            round.insert(contender, drained);
        }
        rounds.push(round);
    }
    gateway.stop().await?;
    Ok(Load { gateway_ms: ms, rounds })
}
