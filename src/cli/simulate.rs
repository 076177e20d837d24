//! `dispatcher simulate`: the ihuyi gateway simulator in a process of its own.

mod args;

use anyhow::Context as _;
use serde_json::json;

use super::exit::WrongUsage;
use super::output;
use crate::simulator::{Simulator, Stats, check, message};

pub use self::args::SimulateArgs;

/// Serves until Ctrl-C, then prints totals. A runtime of one thread is enough for tens of thousands of
/// requests a second.
///
/// # Errors
///
/// When a key file cannot be read, an option is out of its range, the address is taken, or stdout is closed.
pub async fn run(args: SimulateArgs, as_json: bool) -> anyhow::Result<()> {
    let environment_key = std::env::var("SIMULATOR_API_KEY").ok();
    let options = args.into_options(environment_key).and_then(|options| check(&options).map(|()| options));
    let options = options.map_err(|problem| WrongUsage(format!("{problem:#}")))?;
    let accounts: Vec<String> = options.accounts.iter().map(|account| account.id.clone()).collect();
    let simulator = Simulator::start(options).await?;
    let (submit, balance) = (simulator.submit_url(), simulator.balance_url());
    // A line each for programs: it is read while the simulator runs.
    match as_json {
        true => {
            let places = json!({ "submit_url": submit, "balance_url": balance, "accounts": accounts });
            output::line(&places.to_string())?;
        }
        false => output::line(&format!(
            "simulated ihuyi gateway: submit {submit}  balance {balance}  accounts {}",
            accounts.join(", ")
        ))?,
    }
    wait_for_stop().await?;
    let stats = simulator.stats();
    simulator.stop().await;
    output::line(&if as_json { json!(stats).to_string() } else { totals(&stats) })
}

/// Ctrl-C or SIGTERM.
async fn wait_for_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// The closing table.
fn totals(stats: &Stats) -> String {
    let mut lines = vec![format!(
        "{} submits on {} connections, {} parts billed, {} balance queries",
        stats.submissions, stats.connections, stats.parts, stats.balance_queries,
    )];
    for (code, count) in &stats.codes {
        lines.push(format!("{count:>10}  {code:<6} {}", message(*code)));
    }
    for (fault, count) in &stats.faults {
        lines.push(format!("{count:>10}  {fault}"));
    }
    if stats.reset_before > 0 {
        lines.push(format!("{:>10}  reset before the request was read", stats.reset_before));
    }
    if stats.pushes > 0 {
        let (pushes, taken, given_up) = (stats.pushes, stats.pushes_taken, stats.pushes_given_up);
        lines.push(format!("{pushes:>10}  pushes: {taken} taken, {given_up} given up"));
    }
    lines.join("\n")
}
