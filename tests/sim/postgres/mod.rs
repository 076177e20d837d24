//! Postgres in memory: every statement takes time, is committed at one instant, and may go wrong on
//! either side of it.

mod duties;
mod feedback;
mod replays;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::ports::*;
use dispatcher::domain::event::Event;
use dispatcher::domain::job::{Priority, Timestamp};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::receipt::Receipt;
use dispatcher::domain::review::Review;
use dispatcher::domain::uplink::Uplink;
use tokio::time::Instant;

use crate::process::Link;
use crate::world::World;

pub use feedback::{ReceiptRow, is_final};
pub use replays::{ReplayRow, ReplayedRow, passes};
pub use tables::{AttemptRow, EventRow, JobRow, Tables};

/// A statement on a quiet system.
const QUICK: Duration = Duration::from_millis(6);
/// The longest that a statement takes, with room below the 60 s after which Postgres ends it.
const SLOWEST: Duration = Duration::from_secs(40);

impl World {
    /// Postgres refuses connections at present.
    pub fn postgres_is_down(&self) -> bool {
        self.weather().postgres_down.is_some_and(|until| Instant::now() < until)
    }
}

/// Whether a statement did anything. A duty that finds nothing to do is no place to die at: there are
/// too many of them.
trait Touched {
    fn touched(&self) -> bool;
}

impl<T> Touched for Vec<T> {
    fn touched(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Touched for BTreeMap<i64, T> {
    fn touched(&self) -> bool {
        true
    }
}

impl Touched for bool {
    fn touched(&self) -> bool {
        *self
    }
}

impl Touched for Option<RoomPlace> {
    /// Asked for only where there is something to mend.
    fn touched(&self) -> bool {
        true
    }
}

impl Touched for (u64, Option<DuePlace>) {
    fn touched(&self) -> bool {
        self.0 > 0
    }
}

impl Touched for u64 {
    fn touched(&self) -> bool {
        *self > 0
    }
}

impl Touched for Received {
    fn touched(&self) -> bool {
        true
    }
}

impl Touched for Waiting {
    fn touched(&self) -> bool {
        false
    }
}

/// How one statement goes.
struct Fate {
    before: Duration,
    after: Duration,
    refused: bool,
    answer_lost: bool,
    /// It is committed even if its process dies first.
    has_left: bool,
}

impl Fate {
    fn draw(world: &World) -> Fate {
        let faults = world.weather().statement;
        let pace = |slow: bool| world.delay(if slow { SLOWEST } else { QUICK });
        let slow = world.chance(faults.slow);
        let before_it = slow && world.chance(0.5);
        Fate {
            before: pace(before_it),
            after: pace(slow && !before_it),
            refused: world.chance(faults.refused),
            answer_lost: world.chance(faults.answer_lost),
            has_left: world.chance(0.5),
        }
    }
}

/// Postgres, for one process.
pub struct Postgres(pub Link);

impl Postgres {
    /// One statement.
    async fn statement<T: std::fmt::Debug + Touched>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Tables, Timestamp) -> Result<T, LedgerError> + Send,
    ) -> Result<T, LedgerError> {
        let (link, world) = (&self.0, &self.0.world);
        let away = |why: &str| Err(LedgerError::Unavailable(why.to_owned()));
        link.alive().await;
        let fate = Fate::draw(world);
        let _waits = (fate.before + fate.after > QUICK * 2).then(|| link.process.wait());
        link.travel(fate.before).await;
        if !fate.has_left {
            link.alive().await;
        }
        if fate.refused || world.postgres_is_down() {
            link.alive().await;
            return away("the connection was refused");
        }
        let answer = {
            let mut tables = world.tables();
            tables.last_wins = world.rng().bool();
            work(&mut tables, world.now())
        };
        let touched = !answer.as_ref().is_ok_and(|answer| !answer.touched());
        if touched {
            world.note(|| format!("process {} {name}: {answer:?}", link.process.index()));
            link.step().await;
        }
        link.travel(fate.after).await;
        if touched {
            link.step().await;
        }
        link.alive().await;
        if fate.answer_lost || world.postgres_is_down() {
            return away("the connection was reset");
        }
        answer
    }

    fn replays(&self) -> usize {
        self.0.world.tables().replays.len()
    }

    fn all_say_why(&self, account: &str) -> bool {
        let tables = self.0.world.tables();
        let why = Some(tables.why(account));
        tables.jobs.values().filter(|row| row.on_room && row.account == account).all(|row| row.wait_reason == why)
    }

    fn owner(&self) -> u32 {
        self.0.process.index()
    }
}

impl Ledger for Postgres {
    fn admit<'a>(&'a self, rows: &'a [Admission]) -> Boxed<'a, Result<Vec<Admitted>, LedgerError>> {
        Box::pin(async move {
            let owner = self.owner();
            let inserted = self.statement("insert", |tables, now| tables.insert(rows, owner, now)).await?;
            if rows.iter().all(|row| inserted.contains_key(&row.claim_id)) {
                return self.0.world.tables().admitted(rows, &inserted);
            }
            self.statement("look up", |tables, _| tables.admitted(rows, &inserted)).await
        })
    }

    fn readmit<'a>(&'a self, rows: &'a [Readmission]) -> Boxed<'a, Result<Vec<Readmitted>, LedgerError>> {
        Box::pin(async move {
            let owner = self.owner();
            let moved = self.statement("move", |tables, now| Ok(tables.move_jobs(rows, owner, now))).await?;
            if rows.iter().all(|row| moved.contains_key(&row.claim_id)) {
                return Ok(self.0.world.tables().readmitted(rows, &moved));
            }
            self.statement("look up", |tables, _| Ok(tables.readmitted(rows, &moved))).await
        })
    }

    fn record<'a>(&'a self, rows: &'a [Record]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        Box::pin(self.statement("record", |tables, now| Ok(tables.record(rows, now))))
    }

    fn refuse<'a>(&'a self, rows: &'a [Refusal]) -> Boxed<'a, Result<Vec<()>, LedgerError>> {
        Box::pin(self.statement("refuse", |tables, now| Ok(tables.refuse(rows, now))))
    }
}

impl Outbox for Postgres {
    fn turn<'a>(&'a self, done: &'a [i64], aside: &'a [i64], limit: u32) -> Boxed<'a, Result<Vec<Event>, LedgerError>> {
        Box::pin(self.statement("outbox", move |tables, _| Ok(tables.turn(done, aside, limit))))
    }
}

impl Upkeep for Postgres {
    fn release_due(&self, at: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.statement("due", move |tables, now| Ok(tables.release_due(at, limit, now))))
    }

    fn wake(&self, at: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, Priority)>, LedgerError>> {
        Box::pin(self.statement("wake", move |tables, now| Ok(tables.wake(at, limit, now))))
    }

    fn release_room<'a>(
        &'a self,
        account: &'a str,
        priority: Priority,
        limit: u32,
    ) -> Boxed<'a, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.statement("room", move |tables, now| Ok(tables.release_room(account, priority, limit, now))))
    }

    fn release_lost(&self, age: u32, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        Box::pin(self.statement("lost", move |tables, now| Ok(tables.release_lost(age, limit, now))))
    }

    fn expire(&self, at: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, u64)>, LedgerError>> {
        Box::pin(self.statement("expire", move |tables, now| Ok(tables.expire(at, limit, now))))
    }

    fn stale_claims(&self, limit: u32) -> Boxed<'_, Result<Vec<StaleClaim>, LedgerError>> {
        Box::pin(self.statement("stale", move |tables, now| Ok(tables.stale_claims(limit, now))))
    }

    fn prune(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(self.statement("prune", move |tables, now| Ok(tables.prune(long_ago(old, now), limit))))
    }

    fn prune_feedback(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(
            self.statement("prune feedback", move |tables, now| Ok(tables.prune_feedback(long_ago(old, now), limit))),
        )
    }

    fn put_forward(
        &self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Boxed<'_, Result<(u64, Option<DuePlace>), LedgerError>> {
        Box::pin(self.statement("put forward", move |tables, _| Ok(tables.put_forward(by, after, limit))))
    }

    fn look_again(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<Ended>, LedgerError>> {
        Box::pin(self.statement("look again", move |tables, now| Ok(tables.look_again(now + ahead, limit, now))))
    }

    fn end_doubts(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<String>, LedgerError>> {
        Box::pin(self.statement("end doubts", move |tables, now| Ok(tables.end_doubts(now + ahead, limit, now))))
    }

    fn prune_records(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        Box::pin(
            self.statement("prune records", move |tables, now| Ok(tables.prune_records(long_ago(old, now), limit))),
        )
    }

    fn accounts<'a>(&'a self, names: &'a [String]) -> Boxed<'a, Result<Vec<AccountRow>, LedgerError>> {
        Box::pin(self.statement("accounts", |tables, _| Ok(tables.accounts(names))))
    }

    fn pause<'a>(&'a self, account: &'a str, pause: &'a Pause) -> Boxed<'a, Result<bool, LedgerError>> {
        Box::pin(self.statement("pause", |tables, _| Ok(tables.pause(account, pause))))
    }

    fn resume<'a>(&'a self, account: &'a str) -> Boxed<'a, Result<bool, LedgerError>> {
        Box::pin(self.statement("resume", |tables, _| Ok(tables.resume(account))))
    }

    fn reroute<'a>(&'a self, from: &'a str, to: &'a str, limit: u32) -> Boxed<'a, Result<Vec<Priority>, LedgerError>> {
        Box::pin(self.statement("reroute", move |tables, now| Ok(tables.reroute(from, to, limit, now))))
    }

    fn last_slots<'a>(
        &'a self,
        lines: &'a [(Mobile, Priority)],
    ) -> Boxed<'a, Result<Vec<Option<Timestamp>>, LedgerError>> {
        Box::pin(self.statement("last slots", move |tables, _| {
            Ok(lines.iter().map(|(mobile, priority)| tables.last_slot(*mobile, *priority)).collect())
        }))
    }

    /// Where all say what is so there is nothing to mend, and no story is changed by it.
    fn say_why<'a>(
        &'a self,
        account: &'a str,
        after: Option<RoomPlace>,
        limit: u32,
    ) -> Boxed<'a, Result<Option<RoomPlace>, LedgerError>> {
        Box::pin(async move {
            match self.all_say_why(account) {
                true => Ok(None),
                false => {
                    self.statement("say why", move |tables, now| Ok(tables.say_why(account, after, limit, now))).await
                }
            }
        })
    }

    /// Where there is no replay there is nothing to ask, and no story is changed by it.
    fn replay(&self, clock: Timestamp, limit: u32) -> Boxed<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            match self.replays() {
                0 => Ok(false),
                _ => self.statement("replay", move |tables, now| Ok(tables.replay_step(limit, clock, now))).await,
            }
        })
    }

    /// Nobody retries what was refused.
    fn retries(&self, _: Duration, _: u32) -> Boxed<'_, Result<Option<Vec<Retry>>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }

    fn retried<'a>(&'a self, _: &'a [Retried]) -> Boxed<'a, Result<(), LedgerError>> {
        Box::pin(async { Ok(()) })
    }

    fn replay_results(&self) -> Boxed<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            for id in 0..self.replays() {
                let state = self.0.world.tables().replays[id].state;
                if state == "done" {
                    continue;
                }
                self.statement("note results", move |tables, _| Ok(tables.note_replay_results(id))).await?;
                if state == "cancelled" {
                    continue;
                }
                self.statement("judge canary", move |tables, _| Ok(tables.judge_canary(id))).await?;
                self.statement("end replay", move |tables, _| Ok(tables.end_replay(id))).await?;
            }
            Ok(())
        })
    }

    fn parked<'a>(&'a self, each: &'a mut (dyn FnMut(ParkedJobs) + Send)) -> Boxed<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let lines = self.statement("parked", |tables, _| Ok(tables.parked())).await?;
            lines.into_iter().for_each(each);
            Ok(())
        })
    }

    fn waiting<'a>(&'a self, accounts: &'a [String]) -> Boxed<'a, Result<Waiting, LedgerError>> {
        Box::pin(self.statement("waiting", |tables, _| Ok(tables.waiting(accounts))))
    }
}

impl Feedback for Postgres {
    fn receive<'a>(&'a self, rows: &'a [Arc<Receipt>]) -> Boxed<'a, Result<Received, LedgerError>> {
        Box::pin(self.statement("receive", |tables, now| Ok(tables.receive(rows, now))))
    }

    fn hear<'a>(&'a self, rows: &'a [Arc<Uplink>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        Box::pin(self.statement("hear", |tables, now| Ok(tables.hear(rows, now))))
    }

    fn review<'a>(&'a self, rows: &'a [Arc<Review>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        // No job has anything to do with them.
        Box::pin(self.statement("review", |_, _| Ok(vec![true; rows.len()])))
    }
}

/// `long_ago!` of `src/store/upkeep.rs`.
fn long_ago(old: Old, now: Timestamp) -> Timestamp {
    old.before.min(now - old.age)
}
