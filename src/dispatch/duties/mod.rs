//! The periodic duties of whoever serves a shard: a file each. Every one may run in several
//! processes at once (`SKIP LOCKED`), and repeats what it could not do.

mod accounts;
mod aside;
mod balance;
mod blocked;
mod clock;
mod events;
mod expire;
mod gauges;
mod prune;
mod receipts;
mod reclaim;
mod release;
mod replay;
mod retry;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::desk::{Desk, Notices};
use super::pacer::Pace;
use super::ports::LedgerError;

pub(super) use accounts::restore as restore_accounts;

/// Rows that one statement of a duty touches at most.
const BATCH: u32 = 1_000;

/// How long a duty that is under way may take to finish when its session ends.
const FINISH: Duration = Duration::from_secs(5);

/// The duties of one session.
pub(super) struct Duties {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Duties {
    /// Starts all of them.
    pub fn start(desk: &Arc<Desk>, pace: &Arc<Pace>, notices: Arc<Mutex<Notices>>) -> Duties {
        let tempo = desk.settings.tempo;
        let mut duties = Duties { tasks: JoinSet::new(), stop: CancellationToken::new() };
        let stop = duties.stop.clone();
        duties.tasks.spawn(release::run(desk.clone(), pace.clone(), stop.clone()));
        if desk.settings.events {
            duties.tasks.spawn(events::run(desk.clone(), stop.clone()));
        }
        duties.tasks.spawn(clock::run(desk.clone(), stop.clone()));
        duties.tasks.spawn(blocked::run(desk.clone(), stop.clone()));
        duties.tasks.spawn(gauges::run(desk.clone(), pace.clone(), stop.clone()));
        if let Some(every) = desk.settings.balance_every {
            duties.tasks.spawn(balance::run(desk.clone(), every, stop.clone()));
        }
        duties.tasks.spawn(accounts::run(desk.clone(), pace.clone(), notices, stop));
        let looked = pace.clone();
        duties.add(tempo.lost / 4, desk, move |desk| {
            let stands_still = looked.act(|pacer, _| {
                pacer.look_for_parked();
                pacer.circuit.is_open() && !pacer.is_empty()
            });
            // What was released stands behind what waits for the gateway: more copies would only add to it. Where
            // nothing waits for it, nothing stands before them, and one of them must probe.
            async move { if stands_still { Ok(()) } else { release::lost(&desk).await } }
        });
        duties.add(tempo.expire, desk, |desk| async move { expire::once(&desk).await });
        duties.add(tempo.reclaim, desk, |desk| async move { reclaim::once(&desk).await });
        duties.add(tempo.receipts, desk, |desk| async move { receipts::once(&desk).await });
        duties.add(tempo.release, desk, |desk| async move { replay::once(&desk).await });
        duties.add(tempo.release, desk, |desk| async move { retry::once(&desk).await });
        duties.add(tempo.expire, desk, |desk| async move { replay::results(&desk).await });
        duties.add(tempo.prune, desk, |desk| async move { prune::once(&desk).await });
        duties
    }

    /// Does a duty again and again. A failure is Postgres' or RabbitMQ's, which have watches of
    /// their own; the duty is simply due again.
    fn add<F, R>(&mut self, interval: Duration, desk: &Arc<Desk>, duty: F)
    where
        F: Fn(Arc<Desk>) -> R + Send + 'static,
        R: Future<Output = Result<(), LedgerError>> + Send,
    {
        let (desk, stop) = (desk.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            while !stop.is_cancelled() {
                if let Err(error) = duty(desk.clone()).await {
                    debug!(%error, "a periodic duty will try again");
                }
                pause(interval, &stop).await;
            }
        });
    }

    /// Lets what is under way finish: a release cut short would leave its jobs to be found later.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // What hangs longer is aborted with the set.
        let _ = tokio::time::timeout(FINISH, all).await;
    }
}

/// Sleeps, but not beyond the end of the session.
async fn pause(interval: Duration, stop: &CancellationToken) {
    let _ = tokio::time::timeout(interval, stop.cancelled()).await;
}
