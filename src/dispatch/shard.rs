//! Serves the shard: takes the lease, restores what the limiters must know, consumes, and begins
//! anew when anything breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tracing::{info, warn};

use super::desk::{Desk, Notices, Ports};
use super::duties::{self, Duties};
use super::health::{Health, Part};
use super::intake::Reception;
use super::lift::lift;
use super::metrics::Metrics;
use super::pacer::Pace;
use super::ports::*;
use super::reconnect::Delays;
use super::settings::Settings;
use crate::domain::job::Timestamp;
use crate::domain::pace::Former;

/// How often a standby asks for the lease.
const STANDBY: Duration = Duration::from_secs(1);
/// A session that stood this long starts the reconnect delays afresh.
const STOOD: Duration = Duration::from_secs(10);

/// The dispatcher's work on its shard.
pub struct Shard {
    desk: Arc<Desk>,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

impl Shard {
    /// Starts to serve; connects, and reconnects, by itself.
    pub fn start(settings: Settings, ports: Ports, metrics: Metrics, health: Arc<Health>) -> Shard {
        let (desk, notices) = Desk::new(settings, ports, metrics, health);
        let (stop, stopped) = watch::channel(false);
        let notices = Arc::new(Mutex::new(notices));
        let supervisor = tokio::spawn(supervise(desk.clone(), notices, stopped));
        Shard { desk, stop, supervisor }
    }

    /// The tasks without which it does nothing useful, until it is stopped.
    pub fn vital(&self) -> Vec<AbortHandle> {
        let mut tasks = vec![self.supervisor.abort_handle()];
        tasks.extend(self.desk.batches());
        tasks
    }

    /// Takes no new attempt, lets what is on the wire finish until the drain timeout, hands the
    /// rest back to the queues. Returns the jobs that did not finish in time.
    pub async fn stop(self) -> usize {
        self.desk.begin_drain();
        let _ = self.stop.send(true);
        // The supervisor ends the session once the tasks have ended or the time is up.
        if let Err(error) = self.supervisor.await {
            warn!(%error, "the supervisor failed");
        }
        self.desk.tasks.len()
    }
}

async fn supervise(desk: Arc<Desk>, notices: Arc<Mutex<Notices>>, mut stop: watch::Receiver<bool>) {
    let mut delays = Delays::new(desk.settings.tempo.reconnect);
    let mut last_reason = String::new();
    while !*stop.borrow() {
        let begun = tokio::time::Instant::now();
        let reason = tokio::select! {
            biased;
            reason = serve(&desk, &notices, stop.clone()) => reason,
            // Not yet consuming: nothing needs to be drained.
            () = stopped_early(&desk, &mut stop) => break,
        };
        let why = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        desk.health.down(Part::Consumer, format!("not consuming{why}"));
        desk.metrics.end_session(desk.settings.account_names());
        if begun.elapsed() > STOOD {
            delays.reset();
            last_reason.clear();
        }
        let Some(reason) = reason else { continue };
        let delay = delays.next_delay(desk.jitter());
        // Once for each reason: `readyz` goes on saying it.
        if reason != last_reason {
            warn!(reason, "not consuming; trying again until it works");
            last_reason = reason;
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(delay) => {}
            _ = stop.changed() => {}
        }
    }
}

/// Resolves when the daemon is told to stop while no session is open.
async fn stopped_early(desk: &Desk, stop: &mut watch::Receiver<bool>) {
    loop {
        if *stop.borrow() && !desk.in_session() {
            return;
        }
        if stop.changed().await.is_err() {
            return;
        }
    }
}

/// One session from lease to end. Returns why it ended; `None` when it was told to stop.
async fn serve(desk: &Arc<Desk>, notices: &Arc<Mutex<Notices>>, mut stop: watch::Receiver<bool>) -> Option<String> {
    let mut held = match take_lease(desk).await {
        Ok(held) => held,
        Err(error) => {
            desk.health.down(Part::Postgres, error.to_string());
            return Some(error.to_string());
        }
    };
    let reason = match open(desk).await {
        Ok((pace, mut session)) => {
            desk.enter_session(true);
            let mut duties = Duties::start(desk, &pace, notices.clone());
            let ended = tokio::select! {
                biased;
                reason = session.ended() => Some(reason),
                reason = held.lost() => Some(reason),
                reason = duties.ended() => Some(reason),
                _ = stop.wait_for(|stop| *stop) => None,
            };
            if ended.is_none() {
                drain(desk, &pace).await;
            }
            // First, as another process may consume already: nothing more may leave from here.
            pace.end();
            session.close().await;
            duties.stop().await;
            desk.enter_session(false);
            ended
        }
        Err(reason) => Some(reason),
    };
    held.release().await;
    reason
}

/// Waits, as a standby, until this process may serve the shard.
async fn take_lease(desk: &Desk) -> Result<Box<dyn Held>, LedgerError> {
    let mut announced = false;
    loop {
        if let Some(held) = desk.ports.lease.acquire().await? {
            desk.health.up(Part::Postgres);
            return Ok(held);
        }
        if !announced {
            info!("another replica serves the shard: standing by");
            desk.metrics.stand_by(desk.settings.account_names());
            announced = true;
        }
        for part in [Part::Postgres, Part::RabbitMq, Part::Publishing, Part::Consumer] {
            desk.health.up(part);
        }
        tokio::time::sleep(STANDBY).await;
    }
}

/// Restores the limiters, then consumes.
async fn open(desk: &Arc<Desk>) -> Result<(Arc<Pace>, Box<dyn Consuming>), String> {
    let accounts: Vec<_> = desk.settings.accounts.iter().map(|account| account.pace.clone()).collect();
    let pace = Pace::start(desk.settings.mobile, &accounts);
    pace.act(|pacer, _| pacer.share_memory(desk.settings.prefetch));
    if desk.settings.number_limited {
        pace.act(|pacer, _| pacer.wait_for_outcomes());
    }
    let opened = match restore(desk, &pace).await {
        Err(error) => {
            desk.health.down(Part::Postgres, error.to_string());
            Err(error.to_string())
        }
        Ok(()) => {
            let intake = Arc::new(Reception { desk: desk.clone(), pace: pace.clone() });
            desk.ports.source.open(intake).await.map_err(|error| {
                desk.health.down(Part::RabbitMq, error.to_string());
                error.to_string()
            })
        }
    };
    match opened {
        Ok(session) => {
            for part in [Part::RabbitMq, Part::Publishing, Part::Consumer] {
                desk.health.up(part);
            }
            desk.metrics.rabbitmq_connected.set(1);
            info!("consuming");
            Ok((pace, session))
        }
        Err(reason) => {
            pace.end();
            Err(reason)
        }
    }
}

/// What a former owner left: paused accounts, and who stands in line.
async fn restore(desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
    lift(desk).await?;
    let names: Vec<String> = desk.settings.account_names().map(String::from).collect();
    let rows = desk.ports.upkeep.accounts(&names).await?;
    duties::restore_accounts(desk, pace, &rows);
    let now = desk.now();
    desk.ports.upkeep.parked(&mut |line| stand_in_line(desk, pace, line, now)).await
}

/// Newcomers go behind what a former owner has parked.
fn stand_in_line(desk: &Desk, pace: &Pace, line: ParkedJobs, now: Timestamp) {
    desk.go_on_after(line.last_seq);
    let account = desk.settings.account(&line.account);
    let former = Former {
        account,
        due: line.due_at.map(|at| pace.tick_of(at, now)),
        on_room: line.on_room,
        reason: line.reason,
        first_seq: line.first_seq,
        last_seq: line.last_seq,
        published: line.published_at,
    };
    let backlog = account.filter(|_| line.on_room);
    pace.act(|pacer, now| {
        pacer.restore_parked(line.mobile, line.priority, former, now);
        if let Some(account) = backlog {
            pacer.add_backlog(account, line.priority, u64::from(line.jobs));
        }
    });
}

/// What waits for a turn is left to the queues; what is claimed may finish in time.
async fn drain(desk: &Desk, pace: &Pace) {
    info!(jobs = desk.tasks.len(), "draining");
    pace.end();
    desk.tasks.close();
    if tokio::time::timeout(desk.settings.drain_timeout, desk.tasks.wait()).await.is_err() {
        warn!(jobs = desk.tasks.len(), "the drain timeout came first: these attempts will be settled as unknown");
    }
}
