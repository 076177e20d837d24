//! The periodic duties of whoever serves a shard: a file each. Every one may run in several
//! processes at once (`SKIP LOCKED`), and repeats what it could not do.

mod accounts;
mod aside;
mod balance;
mod blocked;
mod cancelled;
mod clock;
mod events;
mod expire;
mod gauges;
mod prune;
mod reasons;
mod receipts;
mod reclaim;
mod release;
mod replay;
mod retry;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
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
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

impl Duties {
    /// Starts all of them.
    pub fn start(desk: &Arc<Desk>, pace: &Arc<Pace>, notices: Arc<Mutex<Notices>>) -> Duties {
        let tempo = desk.settings.tempo;
        let mut duties = Duties::none();
        let stop = duties.stop.clone();
        duties.spawn("release", release::run(desk.clone(), pace.clone(), stop.clone()));
        if desk.settings.events {
            duties.spawn("events", events::run(desk.clone(), stop.clone()));
        }
        duties.spawn("clock", clock::run(desk.clone(), stop.clone()));
        duties.spawn("blocked", blocked::run(desk.clone(), stop.clone()));
        duties.spawn("cancelled", cancelled::run(desk.clone(), pace.clone(), stop.clone()));
        duties.spawn("gauges", gauges::run(desk.clone(), pace.clone(), stop.clone()));
        if let Some(every) = desk.settings.balance_every {
            duties.spawn("balance", balance::run(desk.clone(), every, stop.clone()));
        }
        duties.spawn("accounts", accounts::run(desk.clone(), pace.clone(), notices, stop));
        let looked = pace.clone();
        duties.add("lost", tempo.lost / 4, desk, move |desk| {
            let stands_still = looked.act(|pacer, _| {
                pacer.look_for_parked();
                pacer.circuit.is_open() && !pacer.is_empty()
            });
            // What was released stands behind what waits for the gateway: more copies would only add to it. Where
            // nothing waits for it, nothing stands before them, and one of them must probe.
            async move { if stands_still { Ok(()) } else { release::lost(&desk).await } }
        });
        duties.add("expire", tempo.expire, desk, |desk| async move { expire::once(&desk).await });
        duties.add("reclaim", tempo.reclaim, desk, |desk| async move { reclaim::once(&desk).await });
        duties.add("receipts", tempo.receipts, desk, |desk| async move { receipts::once(&desk).await });
        duties.add("replay", tempo.release, desk, |desk| async move { replay::once(&desk).await });
        duties.add("retry", tempo.release, desk, |desk| async move { retry::once(&desk).await });
        duties.add("results", tempo.expire, desk, |desk| async move { replay::results(&desk).await });
        duties.add("prune", tempo.prune, desk, |desk| async move { prune::once(&desk).await });
        duties
    }

    fn none() -> Duties {
        Duties { tasks: JoinSet::new(), names: HashMap::new(), stop: CancellationToken::new() }
    }

    fn spawn(&mut self, name: &'static str, duty: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.tasks.spawn(duty).id(), name);
    }

    /// Does a duty again and again. A failure is Postgres' or RabbitMQ's, which have watches of
    /// their own; the duty is simply due again.
    fn add<F, R>(&mut self, name: &'static str, interval: Duration, desk: &Arc<Desk>, duty: F)
    where
        F: Fn(Arc<Desk>) -> R + Send + 'static,
        R: Future<Output = Result<(), LedgerError>> + Send,
    {
        let (desk, stop) = (desk.clone(), self.stop.clone());
        self.spawn(name, async move {
            while !stop.is_cancelled() {
                if let Err(error) = duty(desk.clone()).await {
                    debug!(%error, "a periodic duty will try again");
                }
                pause(interval, &stop).await;
            }
        });
    }

    /// Waits until one of them ends by itself, which is a bug, and says which: the session is of no use without it.
    /// May be cancelled.
    pub async fn ended(&mut self) -> String {
        let (id, how) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "ended"),
            Some(Err(error)) => (error.id(), "panicked"),
            None => return std::future::pending().await,
        };
        format!("the duty `{}` has {how}", self.names.get(&id).copied().unwrap_or("unknown"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_duty_that_ends_by_itself_is_named() {
        let mut duties = Duties::none();
        duties.spawn("faithful", std::future::pending());
        duties.spawn("broken", async { panic!("as a bug would") });
        assert_eq!(duties.ended().await, "the duty `broken` has panicked");
        duties.spawn("short", async {});
        assert_eq!(duties.ended().await, "the duty `short` has ended");
    }
}
