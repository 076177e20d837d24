//! Mistakes, as wrappers around sound ports: each must be caught, or the simulation proves nothing.

use std::sync::Arc;
use std::time::Duration;

use dispatcher::dispatch::Ports;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::event::Event;
use dispatcher::domain::job::{Payload, Priority, State, Timestamp, WaitReason};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::receipt::{Receipt, final_state};
use dispatcher::domain::review::Review;
use dispatcher::domain::uplink::Uplink;
use dispatcher::domain::verdict::Reply;

use crate::postgres::{JobRow, Tables};
use crate::world::World;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The outcome counts as recorded before it is committed.
    AcknowledgeBeforeRecord,
    /// A message is acknowledged when it arrives.
    AcknowledgeOnArrival,
    /// The request leaves before its claim is committed.
    ClaimAfterSend,
    /// An unknown outcome is taken for a request that did not leave.
    ResendOnUnknown,
    /// A job that waits is acknowledged and never stored.
    ForgetParked,
    /// A released job whose message was lost is never looked for.
    ForgetLost,
    /// Claims that have run out are never looked for.
    ForgetStale,
    /// An event counts as published before the broker has it.
    ForgetEvents,
    /// A released job does not ask what its number had.
    AskNothing,
    /// The last receipt of a job is final, not the first.
    OverwriteByReceipt,
    /// A receipt that belongs to no job ends the first doubt about its number.
    EndAnyDoubt,
    /// A replay forgets that it has sent a job, and sends it again when it has ended.
    ReplayTwice,
    /// A replay does not wait for its canary.
    ForgetCanary,
    /// A reply is kept, and the wish in it is not.
    ForgetOptOut,
}

impl Mutant {
    /// The ports of a process that makes the mistake.
    pub fn wrap(self, ports: Ports, world: &Arc<World>) -> Ports {
        match self {
            Mutant::AcknowledgeBeforeRecord | Mutant::ClaimAfterSend | Mutant::ForgetParked | Mutant::AskNothing => {
                Ports { ledger: Arc::new(Hasty { inner: ports.ledger.clone(), mutant: self }), ..ports }
            }
            Mutant::AcknowledgeOnArrival => Ports { source: Arc::new(Eager(ports.source.clone())), ..ports },
            Mutant::ResendOnUnknown => Ports { gateway: Arc::new(Sure(ports.gateway.clone())), ..ports },
            Mutant::ForgetEvents => Ports { announcer: Arc::new(Rash(ports.announcer.clone())), ..ports },
            Mutant::ForgetLost
            | Mutant::ForgetStale
            | Mutant::EndAnyDoubt
            | Mutant::ReplayTwice
            | Mutant::ForgetCanary => {
                let lazy = Lazy { inner: ports.upkeep.clone(), mutant: self, world: world.clone() };
                Ports { upkeep: Arc::new(lazy), ..ports }
            }
            Mutant::OverwriteByReceipt | Mutant::ForgetOptOut => ports,
        }
    }

    /// The same for what ihuyi pushes.
    pub fn wrap_feedback(self, inner: Arc<dyn Feedback>, world: &Arc<World>) -> Arc<dyn Feedback> {
        match self {
            Mutant::OverwriteByReceipt | Mutant::ForgetOptOut => {
                Arc::new(Fickle { inner, mutant: self, world: world.clone() })
            }
            _ => inner,
        }
    }
}

/// Answers before it has done what it says.
struct Hasty {
    inner: Arc<dyn Ledger>,
    mutant: Mutant,
}

/// How long the commit takes that nobody waits for.
const LATER: Duration = Duration::from_millis(20);

impl Ledger for Hasty {
    fn admit<'a>(&'a self, rows: &'a [Admission]) -> Boxed<'a, Result<Vec<Admitted>, LedgerError>> {
        let (inner, all) = (self.inner.clone(), rows.to_vec());
        match self.mutant {
            Mutant::ClaimAfterSend if rows.iter().all(|row| row.entry == Entry::Claim) => {
                tokio::spawn(async move {
                    tokio::time::sleep(LATER).await;
                    inner.admit(&all).await
                });
                let claim = Claim { attempts: 1, request: 1 };
                Box::pin(async move { Ok(vec![Admitted::Claimed(claim); rows.len()]) })
            }
            Mutant::ForgetParked => Box::pin(async move {
                let waits = |row: &&Admission| matches!(row.entry, Entry::Wait { .. });
                let kept: Vec<Admission> = all.iter().filter(|row| !waits(row)).cloned().collect();
                let mut answers = inner.admit(&kept).await?.into_iter();
                Ok(all
                    .iter()
                    .filter_map(|row| if waits(&row) { Some(Admitted::Stored) } else { answers.next() })
                    .collect())
            }),
            _ => self.inner.admit(rows),
        }
    }

    fn readmit<'a>(&'a self, rows: &'a [Readmission]) -> Boxed<'a, Result<Vec<Readmitted>, LedgerError>> {
        if self.mutant != Mutant::AskNothing {
            return self.inner.readmit(rows);
        }
        let rows: Vec<Readmission> = rows.iter().map(|row| Readmission { to: None, ..row.clone() }).collect();
        Box::pin(async move { self.inner.readmit(&rows).await })
    }

    fn record<'a>(&'a self, rows: &'a [Record]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        if self.mutant != Mutant::AcknowledgeBeforeRecord {
            return self.inner.record(rows);
        }
        let (inner, all) = (self.inner.clone(), rows.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(LATER).await;
            inner.record(&all).await
        });
        Box::pin(async move { Ok(vec![true; rows.len()]) })
    }

    fn refuse<'a>(&'a self, rows: &'a [Refusal]) -> Boxed<'a, Result<Vec<()>, LedgerError>> {
        self.inner.refuse(rows)
    }
}

/// Acknowledges what arrives.
struct Eager(Arc<dyn Source>);

impl Source for Eager {
    fn open<'a>(&'a self, intake: Arc<dyn Intake>) -> Boxed<'a, Result<Box<dyn Consuming>, SourceError>> {
        self.0.open(Arc::new(EagerIntake(intake)))
    }
}

struct EagerIntake(Arc<dyn Intake>);

impl Intake for EagerIntake {
    fn arrive(&self, arrival: Arrival) {
        arrival.delivery.ack();
        self.0.arrive(arrival);
    }
}

/// Is sure that a request without an answer did not leave.
struct Sure(Arc<dyn Gateway>);

impl Gateway for Sure {
    fn submit<'a>(
        &'a self,
        account: usize,
        mobile: Mobile,
        payload: &'a Payload,
        now: Timestamp,
    ) -> Boxed<'a, Submitted> {
        Box::pin(async move {
            let Submitted { reply, left_at } = self.0.submit(account, mobile, payload, now).await;
            let reply = match reply {
                Reply::Unknown(why) => Reply::NotSent(why),
                reply => reply,
            };
            Submitted { reply, left_at }
        })
    }

    fn balance(&self, account: usize, now: Timestamp) -> Boxed<'_, Balance> {
        self.0.balance(account, now)
    }
}

/// Says that the broker has what is still on its way.
struct Rash(Arc<dyn Announcer>);

impl Announcer for Rash {
    fn announce<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<Vec<bool>, PublishError>> {
        let (inner, all) = (self.0.clone(), events.to_vec());
        tokio::spawn(async move { inner.announce(&all).await });
        Box::pin(async { Ok(vec![true; events.len()]) })
    }
}

/// Leaves one of its duties undone.
struct Lazy {
    inner: Arc<dyn Upkeep>,
    mutant: Mutant,
    world: Arc<World>,
}

/// Believes whom it heard last, or does not listen.
struct Fickle {
    inner: Arc<dyn Feedback>,
    mutant: Mutant,
    world: Arc<World>,
}

impl Feedback for Fickle {
    fn receive<'a>(&'a self, rows: &'a [Arc<Receipt>]) -> Boxed<'a, Result<Received, LedgerError>> {
        if self.mutant != Mutant::OverwriteByReceipt {
            return self.inner.receive(rows);
        }
        Box::pin(async move {
            let received = self.inner.receive(rows).await?;
            let (now, mut tables) = (self.world.now(), self.world.tables());
            for row in rows {
                let state = final_state(row.code);
                let of_message = tables.jobs.values_mut().find(|job| job.smsid.as_ref() == Some(&row.smsid));
                let Some(job) = of_message.filter(|job| job.state != state) else { continue };
                job.go(state, (None, None, false), now);
                job.code = row.code;
                let job = job.clone();
                tables.announce(&job, now);
            }
            Ok(received)
        })
    }

    fn hear<'a>(&'a self, rows: &'a [Arc<Uplink>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        if self.mutant != Mutant::ForgetOptOut {
            return self.inner.hear(rows);
        }
        let deaf = |row: &Arc<Uplink>| Arc::new(Uplink { opt_out: None, ..Uplink::clone(row) });
        let rows: Vec<Arc<Uplink>> = rows.iter().map(deaf).collect();
        Box::pin(async move { self.inner.hear(&rows).await })
    }

    fn review<'a>(&'a self, rows: &'a [Arc<Review>]) -> Boxed<'a, Result<Vec<bool>, LedgerError>> {
        self.inner.review(rows)
    }
}

impl Lazy {
    fn forget_sent(&self) {
        let (now, mut tables) = (self.world.now(), self.world.tables());
        let Tables { jobs, replays, .. } = &mut *tables;
        for row in replays.iter().filter(|replay| replay.state == "running").flat_map(|replay| &replay.jobs) {
            let ended = |job: &&mut JobRow| job.state == State::Accepted && job.requests > row.requests;
            if let Some(job) = jobs.get_mut(&row.job).filter(ended) {
                job.go(State::Waiting, (Some(WaitReason::Replay), Some(now), false), now);
            }
        }
    }
}

impl Upkeep for Lazy {
    fn release_lost(&self, age: u32, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        if self.mutant == Mutant::ForgetLost {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.inner.release_lost(age, limit)
    }

    fn stale_claims(&self, limit: u32) -> Boxed<'_, Result<Vec<StaleClaim>, LedgerError>> {
        if self.mutant == Mutant::ForgetStale {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.inner.stale_claims(limit)
    }

    fn release_due(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<Released>, LedgerError>> {
        self.inner.release_due(now, limit)
    }

    fn wake(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, Priority)>, LedgerError>> {
        self.inner.wake(now, limit)
    }

    fn release_room<'a>(
        &'a self,
        account: &'a str,
        priority: Priority,
        limit: u32,
    ) -> Boxed<'a, Result<Vec<Released>, LedgerError>> {
        self.inner.release_room(account, priority, limit)
    }

    fn expire(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<Vec<(String, u64)>, LedgerError>> {
        self.inner.expire(now, limit)
    }

    fn prune(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        self.inner.prune(old, limit)
    }

    fn prune_feedback(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        self.inner.prune_feedback(old, limit)
    }

    fn put_forward(
        &self,
        by: chrono::TimeDelta,
        after: Option<DuePlace>,
        limit: u32,
    ) -> Boxed<'_, Result<(u64, Option<DuePlace>), LedgerError>> {
        self.inner.put_forward(by, after, limit)
    }

    fn look_again(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<Ended>, LedgerError>> {
        self.inner.look_again(ahead, limit)
    }

    fn end_doubts(&self, ahead: Duration, limit: u32) -> Boxed<'_, Result<Vec<String>, LedgerError>> {
        if self.mutant == Mutant::EndAnyDoubt {
            let (now, mut tables) = (self.world.now(), self.world.tables());
            let open = tables.receipts.iter().filter(|row| row.job.is_none() && row.looks > 0);
            let strangers: Vec<Arc<Receipt>> = open.map(|row| row.receipt.clone()).collect();
            for receipt in strangers {
                let doubted =
                    |job: &&mut JobRow| job.state == State::InDoubt && Some(job.job.mobile.digits()) == receipt.mobile;
                let Some(job) = tables.jobs.values_mut().find(doubted) else { continue };
                job.go(State::Accepted, (None, None, false), now);
                job.smsid = Some(receipt.smsid.clone());
                let job = job.clone();
                tables.announce(&job, now);
            }
        }
        self.inner.end_doubts(ahead, limit)
    }

    fn prune_records(&self, old: Old, limit: u32) -> Boxed<'_, Result<u64, LedgerError>> {
        self.inner.prune_records(old, limit)
    }

    fn accounts<'a>(&'a self, names: &'a [String]) -> Boxed<'a, Result<Vec<AccountRow>, LedgerError>> {
        self.inner.accounts(names)
    }

    fn pause<'a>(&'a self, account: &'a str, pause: &'a Pause) -> Boxed<'a, Result<bool, LedgerError>> {
        self.inner.pause(account, pause)
    }

    fn resume<'a>(&'a self, account: &'a str) -> Boxed<'a, Result<bool, LedgerError>> {
        self.inner.resume(account)
    }

    fn replay(&self, now: Timestamp, limit: u32) -> Boxed<'_, Result<bool, LedgerError>> {
        match self.mutant {
            Mutant::ForgetCanary => {
                let mut tables = self.world.tables();
                let going = tables.replays.iter_mut().filter(|replay| replay.canary_state == "going");
                going.for_each(|replay| replay.canary_state = "passed");
            }
            Mutant::ReplayTwice => self.forget_sent(),
            _ => {}
        }
        self.inner.replay(now, limit)
    }

    fn retries(&self, patience: Duration, limit: u32) -> Boxed<'_, Result<Option<Vec<Retry>>, LedgerError>> {
        self.inner.retries(patience, limit)
    }

    fn retried<'a>(&'a self, rows: &'a [Retried]) -> Boxed<'a, Result<(), LedgerError>> {
        self.inner.retried(rows)
    }

    fn replay_results(&self) -> Boxed<'_, Result<(), LedgerError>> {
        self.inner.replay_results()
    }

    fn say_why<'a>(
        &'a self,
        account: &'a str,
        after: Option<RoomPlace>,
        limit: u32,
    ) -> Boxed<'a, Result<Option<RoomPlace>, LedgerError>> {
        self.inner.say_why(account, after, limit)
    }

    fn reroute<'a>(&'a self, from: &'a str, to: &'a str, limit: u32) -> Boxed<'a, Result<Vec<Priority>, LedgerError>> {
        self.inner.reroute(from, to, limit)
    }

    fn last_slots<'a>(
        &'a self,
        lines: &'a [(Mobile, Priority)],
    ) -> Boxed<'a, Result<Vec<Option<Timestamp>>, LedgerError>> {
        self.inner.last_slots(lines)
    }

    fn parked<'a>(&'a self, each: &'a mut (dyn FnMut(ParkedJobs) + Send)) -> Boxed<'a, Result<(), LedgerError>> {
        self.inner.parked(each)
    }

    fn waiting<'a>(&'a self, accounts: &'a [String]) -> Boxed<'a, Result<Waiting, LedgerError>> {
        self.inner.waiting(accounts)
    }
}
