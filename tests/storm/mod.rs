//! The storm: the built daemon is killed again and again while it works, its services crash, and then
//! the books are laid side by side: what was published, what Postgres says, what the gateway saw.
//!
//! `make chaos` runs the long form, a test of `tests/it` a short one. The seed decides what is
//! published and when something dies; the machine decides what it was doing just then.

mod books;
mod daemon;
mod gateway;
mod jobs;
pub mod pressure;
mod publisher;
mod services;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use books::Books;
use daemon::Daemon;
use jobs::Job;
use publisher::Message;
pub use services::Crash;
use services::Services;

/// For the whole of a request. Short, so that a claim of the dead runs out soon after.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// After the last kill: claims run out, backoffs pass, the crowded numbers empty.
const REST: Duration = Duration::from_secs(240);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What a storm is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is drawn by chance.
    pub seed: u64,
    /// Jobs to publish, over the time of the kills.
    pub jobs: usize,
    /// Numbers that a tenth of the jobs share.
    pub crowded: usize,
    /// kill -9 of the daemon.
    pub kills: usize,
    /// The longest life from being ready to being killed; the shortest is none.
    pub longest_life: Duration,
    /// Crashes of services, spread over the kills.
    pub crashes: Vec<Crash>,
    /// Claims of the dead run out at once, by a change in Postgres, instead of after half a minute.
    pub hasten: bool,
    /// Where the daemon's log goes.
    pub log: PathBuf,
    /// What is going on is told on stderr.
    pub talk: bool,
}

/// Lives through the storm, waits until all is at rest, and lays the books side by side.
///
/// # Errors
/// When a service cannot be used, or the daemon ended by itself. What the books say is no error.
pub async fn run(plan: &Plan) -> anyhow::Result<Books> {
    let begun = Instant::now();
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let services = Services::prepare("storm").await?;
    let jobs = jobs::draw(&mut rng, plan.jobs, plan.crowded);
    let gateway = gateway::start(rng.u64(..)).await?;
    let environment = gateway::environment(&services, &gateway);
    declare(plan, &environment).await?;
    let (chunks, publishing) = publish(&services, &jobs);
    let lived = live(plan, &mut rng, &environment, &jobs, &chunks).await;
    drop(chunks);
    let ended: anyhow::Result<Books> = async {
        let crashed = lived?;
        let before_last_kill = gateway.submissions().len();
        if plan.hasten {
            services.run_out_claims().await?;
        }
        let mut daemon = Daemon::start(&environment, &plan.log)?;
        let repeats = publishing.await??;
        let rested = rest(plan, &services, &mut daemon).await;
        let peak_mib = daemon.peak_mib()?;
        daemon.stop().await?;
        let mut books = Books::lay(&services, &jobs, &gateway).await?;
        books.before_last_kill = before_last_kill;
        books.note(repeats, plan.kills, &crashed, begun.elapsed(), peak_mib, rested);
        Ok(books)
    }
    .await;
    services.remove().await?;
    ended
}

/// Publishers need the exchange, which the daemon declares at its first start.
async fn declare(plan: &Plan, environment: &[(String, String)]) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(environment, &plan.log)?;
    daemon.ready().await?;
    daemon.kill().await
}

/// Publishes the jobs that it is told of, with a few repeats; returns how many repeats.
fn publish(
    services: &Services,
    jobs: &[Job],
) -> (mpsc::UnboundedSender<Vec<usize>>, JoinHandle<anyhow::Result<usize>>) {
    let (chunks, mut told) = mpsc::unbounded_channel::<Vec<usize>>();
    let mut publisher = services.publisher();
    let messages: Vec<Message> = jobs.iter().map(Job::message).collect();
    let task = tokio::spawn(async move {
        let mut repeats = 0;
        while let Some(chunk) = told.recv().await {
            let again = chunk.iter().step_by(40).copied();
            repeats += again.clone().count();
            let chunk: Vec<&Message> = chunk.iter().copied().chain(again).map(|index| &messages[index]).collect();
            publisher.publish(&chunk).await?;
        }
        Ok(repeats + publisher.sent_again())
    });
    (chunks, task)
}

/// The kills. Returns what crashed beside.
async fn live(
    plan: &Plan,
    rng: &mut fastrand::Rng,
    environment: &[(String, String)],
    jobs: &[Job],
    chunks: &mpsc::UnboundedSender<Vec<usize>>,
) -> anyhow::Result<Vec<Crash>> {
    let mut crashed = Vec::new();
    let mut crashing: Option<JoinHandle<anyhow::Result<()>>> = None;
    let every = plan.kills / (plan.crashes.len() + 1);
    for kill in 0..plan.kills {
        let share = |kill: usize| jobs.len() * kill / plan.kills;
        let _ = chunks.send((share(kill)..share(kill + 1)).collect());
        let mut daemon = Daemon::start(environment, &plan.log)?;
        if let Some(crash) = plan.crashes.get(crashed.len()).filter(|_| kill > 0 && kill % every == 0) {
            finish(crashing.take()).await?;
            crashing = Some(tokio::spawn(crash.clone().strike(Duration::from_millis(rng.u64(..1_000)))));
            crashed.push(crash.clone());
        }
        let (starting, life) = (rng.u8(..5) == 0, plan.longest_life.mul_f64(rng.f64()));
        // Most die at work; some while they start, or while a service is away.
        if !starting && crashing.as_ref().is_none_or(JoinHandle::is_finished) {
            daemon.ready().await?;
        }
        tokio::time::sleep(life).await;
        daemon.kill().await?;
        if plan.talk && (kill + 1) % 10 == 0 {
            eprintln!("killed {} times, crashed {} services", kill + 1, crashed.len());
        }
    }
    finish(crashing).await?;
    Ok(crashed)
}

async fn finish(crashing: Option<JoinHandle<anyhow::Result<()>>>) -> anyhow::Result<()> {
    match crashing {
        Some(crashing) => crashing.await?.context("a service did not come back"),
        None => Ok(()),
    }
}

/// Waits until nothing is left to do. False if that takes too long: the books then say what is left.
async fn rest(plan: &Plan, services: &Services, daemon: &mut Daemon) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < REST {
        match services.unrest(plan.jobs).await {
            Ok(0) => return true,
            Ok(left) if plan.talk && begun.elapsed().as_millis() % 10_000 < 150 => eprintln!("{left} are left"),
            Ok(_) | Err(_) => {}
        }
        if daemon.check_alive().is_err() {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}
