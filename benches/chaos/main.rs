//! `make chaos`: the storm in its long form, on real services. Exits 1 when the books do not balance.
//!
//! `AMQP_URL` and `DATABASE_URL` name the services. They are crashed only where `--crash` says how,
//! which `deploy/local/chaos.sh` does for the private ones.

#[path = "../../tests/storm/mod.rs"]
mod storm;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use storm::pressure::{Load, MOST_MIB};
use storm::{Crash, Plan, pressure};

/// Kills the daemon and its services while it works, then lays the books side by side.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    /// Decides what is published and when something dies [default: by chance]
    #[arg(long)]
    seed: Option<u64>,
    /// Jobs to publish
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// kill -9 of the daemon
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Crash these services, one after the other
    #[arg(long, value_delimiter = ',', value_parser = ["rabbitmq", "postgres"])]
    crash: Vec<String>,
    /// Only one of the two parts
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The script that crashes and starts a service
    #[arg(long, default_value = "deploy/local/services.sh")]
    script: String,
    /// Cargo passes it
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Kills and crashes, and the ledger
    Storm,
    /// Poison, floods and backlogs, and what they cost
    Pressure,
    /// Of these, one account's backlog alone
    Backlog,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let balanced = runtime.block_on(run(&cli))?;
    if !balanced {
        std::process::exit(1);
    }
    Ok(())
}

async fn run(cli: &Cli) -> anyhow::Result<bool> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}.log"));
    println!("seed {seed}; the daemon's log: {}", log.display());
    let mut good = true;
    if matches!(cli.only, None | Some(Part::Storm)) {
        let books = storm::run(&plan(cli, seed, &log)).await?;
        println!("{books}");
        good &= books.balance();
    }
    if cli.only != Some(Part::Storm) {
        let backlog = Load { backlog: 200_000, ..Load::default() };
        let all = Load { oversize: 200, deep: 200, repeats: 1_000_000, parked: 50_000, ..backlog.clone() };
        let load = if cli.only == Some(Part::Backlog) { backlog } else { all };
        for part in pressure::press(&load, &log).await? {
            good &= part.peak_mib < MOST_MIB;
        }
    }
    if good {
        std::fs::remove_file(log)?;
    }
    Ok(good)
}

fn plan(cli: &Cli, seed: u64, log: &Path) -> Plan {
    let crash = |service: &String| Crash { service: service.clone(), script: cli.script.clone() };
    let mut crashes: Vec<Crash> = cli.crash.iter().map(crash).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut crashes);
    Plan {
        seed,
        jobs: cli.jobs,
        crowded: (cli.jobs / 500).max(1),
        kills: cli.kills,
        longest_life: Duration::from_secs(4),
        crashes,
        hasten: false,
        log: log.to_owned(),
        talk: true,
    }
}
