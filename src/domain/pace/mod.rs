//! Pacing: when a job may go, or until when it is parked. A pure state machine; the driver in
//! `dispatch::pacer` gives it the time and carries out what it says.
//!
//! A job passes two limiters in order, its number's and its account's; once the number's token is
//! granted it is kept while the job waits for the account. A job whose turn is more than
//! [`PATIENCE`] away is parked in Postgres, in one of two ways:
//!
//! - for its **number**: with a slot of its own in time, one period after the one before it;
//! - for its **account**: in order of arrival, until the account has room. The release duty asks
//!   for the [`Room`]s, so that a backlog neither comes back too early nor leaves tokens unused.
//!
//! Two more limits hold jobs from outside: the quiet hours of a priority, and what Postgres counts of a
//! number over hours and days ([`Pacer::held`]). Both release their jobs to the account's line when
//! their time comes, so that a night's jobs go at the account's pace.
//!
//! Jobs of one number and priority keep their order: they are submitted one after another, and one
//! that arrives while others of its number are parked parks behind them.

pub mod account;
mod backlogs;
pub mod bucket;
pub mod circuit;
mod mode;
mod park;
mod place;
mod rooms;
mod tail;
mod turn;

pub use mode::{Mode, News};
pub use tail::LineEnd;
pub use turn::{Former, Park, Request, Room, Standing, Ticket, Turn, Waited};

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::job::Priority;
use super::mobile::Mobile;
use account::{Account, AccountPace};
use bucket::{Bucket, MobileBuckets, Tick};
use circuit::Circuit;
use tail::Tails;

/// A job whose turn is further away than this is parked.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Parked jobs are released when their turn is this close.
pub const HORIZON: Duration = Duration::from_secs(2);
/// A job that was granted a place in memory and has not gone after this long is parked after all.
const OVERDUE: Duration = Duration::from_secs(8);

/// A number's token is taken at most so long before it is due.
const MAX_LEAD: Duration = Duration::from_millis(50);

/// What the way to the gateway may take from the distance between two requests: it is kept on top, up
/// to a fiftieth of it, because the limit counts there and not here.
const JITTER: Duration = Duration::from_millis(20);

struct Entry {
    request: Request,
    stage: Stage,
    entered: Tick,
    /// When its number's token is due.
    mobile_granted: Tick,
    entered_account: Tick,
    granted: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In its number's lane.
    Mobile,
    /// Has its number's token, waits for the account's.
    Account,
    /// Told to go.
    Granted,
    /// On the wire.
    Departed,
}

/// The jobs of one number that are in memory. One of them at a time is past the number's limiter.
#[derive(Default)]
struct Lane {
    ahead: Option<Ticket>,
    waiting: [VecDeque<Ticket>; 3],
}

/// The limiters of one shard.
pub struct Pacer {
    mobiles: MobileBuckets,
    accounts: Vec<Account>,
    entries: HashMap<Ticket, Entry>,
    lanes: HashMap<u64, Lane>,
    /// When a lane's number has its next token.
    lane_wakes: BinaryHeap<Reverse<(Tick, u64)>>,
    account_wakes: Vec<Option<Tick>>,
    tails: Tails,
    /// The circuit of the gateway.
    pub circuit: Circuit,
    told: Vec<(Ticket, Turn)>,
    /// A number's next job waits until the outcome of the one before is committed.
    by_outcome: bool,
    /// How long a claim takes, averaged.
    claim_seconds: f64,
    /// So many jobs of each priority may be in memory.
    memory: usize,
    /// So many waiting jobs of one priority are many.
    crowd: usize,
}

impl Pacer {
    /// Limiters that take over at `now`: every number counts as just used, every account's bucket
    /// as empty.
    pub fn new(mobile: Bucket, accounts: &[AccountPace], now: Tick) -> Self {
        let mobile = Bucket { period: mobile.period + (mobile.period / 50).min(JITTER), ..mobile };
        Pacer {
            mobiles: MobileBuckets::just_used(mobile, now),
            accounts: accounts.iter().map(|pace| Account::new(pace, now)).collect(),
            entries: HashMap::new(),
            lanes: HashMap::new(),
            lane_wakes: BinaryHeap::new(),
            account_wakes: vec![None; accounts.len()],
            tails: Tails::default(),
            circuit: Circuit::default(),
            told: Vec::new(),
            by_outcome: false,
            claim_seconds: 0.0,
            memory: usize::MAX,
            crowd: usize::MAX,
        }
    }

    /// From now on there is room in memory for so many jobs of each priority. Where several accounts share it, none
    /// fills more than half of it for long.
    pub fn share_memory(&mut self, jobs: usize) {
        self.memory = jobs;
        if self.accounts.len() > 1 {
            self.crowd = (jobs / 2).max(1);
        }
    }

    /// From now on a number's next job waits until the outcome of the one before is committed
    /// ([`Pacer::settled`]), and not only until its answer: what Postgres counts of a number is then certain.
    pub fn wait_for_outcomes(&mut self) {
        self.by_outcome = true;
    }

    /// A job arrives. What it is told comes out of [`Pacer::poll`], perhaps at once.
    pub fn enter(&mut self, request: Request, now: Tick) {
        let (ticket, priority) = (request.ticket, request.priority);
        let released = request.standing == Standing::Released;
        let from = if released { self.came_back(request.account, request.mobile, priority, request.seq) } else { None };
        let entry = Entry {
            request,
            stage: Stage::Mobile,
            entered: now,
            mobile_granted: now,
            entered_account: now,
            granted: now,
        };
        self.entries.insert(ticket, entry);
        if let Some(park) = self.must_park(&request, from, now) {
            return self.park(ticket, park, now);
        }
        let mobile = request.mobile.as_u64();
        self.lanes.entry(mobile).or_default().waiting[priority.index()].push_back(ticket);
        self.accounts[request.account].in_lanes[priority.index()] += 1;
        self.overtake(mobile, priority);
        self.advance_lane(mobile, now);
    }

    /// A higher job of the same number takes the place of a lower one that only waits for the account.
    fn overtake(&mut self, mobile: u64, priority: Priority) {
        let Some(lane) = self.lanes.get_mut(&mobile) else { return };
        let Some(entry) = lane.ahead.and_then(|ticket| self.entries.get_mut(&ticket)) else { return };
        let behind = entry.request;
        if entry.stage != Stage::Account || behind.priority <= priority {
            return;
        }
        entry.stage = Stage::Mobile;
        self.accounts[behind.account].ready[behind.priority.index()].retain(|ticket| *ticket != behind.ticket);
        lane.waiting[behind.priority.index()].push_front(behind.ticket);
        self.accounts[behind.account].in_lanes[behind.priority.index()] += 1;
        lane.ahead = None;
        self.mobiles.refund(mobile);
    }

    /// Between two slots of a number: its period, and a little more, so that the small delays on
    /// the way do not add up to a second parking; or the time that one takes after another.
    fn spacing(&self, account: usize) -> Duration {
        let period = self.mobiles.period();
        let answered = Duration::from_secs_f64(self.accounts[account].reply_seconds().min(60.0)) + self.lead();
        (period + (period / 50).clamp(Duration::from_millis(2), Duration::from_millis(5))).max(answered)
    }

    /// A number's token is taken so long before it is due: about what a claim takes, so that the
    /// request can leave when it is.
    fn lead(&self) -> Duration {
        Duration::from_secs_f64(self.claim_seconds).min(self.mobiles.period() / 4).min(MAX_LEAD)
    }

    /// Lets the first job of a lane through its number's limiter, if it may.
    fn advance_lane(&mut self, mobile: u64, now: Tick) {
        let lead = self.lead();
        let Some(lane) = self.lanes.get_mut(&mobile) else { return };
        if lane.ahead.is_some() {
            return;
        }
        let Some(queue) = lane.waiting.iter_mut().find(|queue| !queue.is_empty()) else {
            self.lanes.remove(&mobile);
            return;
        };
        let due = self.mobiles.next_token(mobile).max(now);
        if self.mobiles.take(mobile, due.min(now + lead)).is_err() {
            self.lane_wakes.push(Reverse((due.saturating_sub(lead), mobile)));
            return;
        }
        lane.ahead = queue.pop_front();
        let Some(entry) = lane.ahead.and_then(|ticket| self.entries.get_mut(&ticket)) else { return };
        entry.stage = Stage::Account;
        entry.mobile_granted = due;
        entry.entered_account = now;
        let Request { ticket, account, priority, .. } = entry.request;
        self.accounts[account].in_lanes[priority.index()] -= 1;
        self.accounts[account].ready[priority.index()].push_back(ticket);
        self.advance_account(account, now);
    }

    fn advance_account(&mut self, account: usize, now: Tick) {
        self.account_wakes[account] = None;
        while self.circuit.admits(now) {
            match self.accounts[account].next(now) {
                Ok(ticket) => {
                    self.circuit.granted();
                    self.grant(ticket, now);
                }
                Err(wake) => {
                    self.account_wakes[account] = wake;
                    return;
                }
            }
        }
        self.account_wakes[account] = self.circuit.probe_at();
    }

    /// After a job of `account` is done: the circuit, which all accounts share, may admit another's now.
    fn advance_accounts(&mut self, account: usize, now: Tick) {
        self.advance_account(account, now);
        for other in 0..self.accounts.len() {
            let waits = self.accounts[other].ready.iter().any(|queue| !queue.is_empty());
            if waits && self.account_wakes[other].is_none() {
                self.advance_account(other, now);
            }
        }
    }

    fn grant(&mut self, ticket: Ticket, now: Tick) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        entry.stage = Stage::Granted;
        entry.granted = now;
        let waited = Waited {
            mobile: entry.entered_account.saturating_sub(entry.entered),
            account: now.saturating_sub(entry.entered_account),
        };
        self.told.push((ticket, Turn::Go(waited)));
    }

    /// What there is to tell, and when to ask again at the latest (`None`: after the next event).
    pub fn poll(&mut self, now: Tick, told: &mut Vec<(Ticket, Turn)>) -> Option<Tick> {
        while let Some(Reverse((at, mobile))) = self.lane_wakes.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            debug_assert!(at <= now);
            self.lane_wakes.pop();
            self.advance_lane(mobile, now);
        }
        for account in 0..self.accounts.len() {
            if self.account_wakes[account].is_some_and(|at| at <= now) {
                self.advance_account(account, now);
            }
        }
        told.append(&mut self.told);
        let lanes = self.lane_wakes.peek().map(|Reverse((at, _))| *at);
        self.account_wakes.iter().flatten().copied().chain(lanes).min()
    }

    /// The claim of a granted job is committed.
    pub fn claimed(&mut self, ticket: Ticket, now: Tick) {
        if let Some(entry) = self.entries.get(&ticket) {
            let took = now.saturating_sub(entry.granted).as_secs_f64();
            self.claim_seconds = self.claim_seconds * 0.9 + took * 0.1;
        }
    }

    /// When the number's token of a claimed job is due: it was taken a little ahead.
    pub fn due(&self, ticket: Ticket) -> Tick {
        self.entries.get(&ticket).map_or(Tick::ZERO, |entry| entry.mobile_granted)
    }

    /// May a claimed job of `account` leave now? Else, when to ask again. `ticket` is none for one that
    /// goes past its number's limiter.
    pub fn depart(&mut self, account: usize, ticket: Option<Ticket>, now: Tick) -> Result<(), Tick> {
        self.accounts[account].gate.take(now)?;
        if let Some(entry) = ticket.and_then(|ticket| self.entries.get_mut(&ticket)) {
            entry.stage = Stage::Departed;
            self.accounts[account].left_line();
            self.advance_account(account, now);
        }
        Ok(())
    }

    /// A granted job is done with the wire: its request left at `departed` and was answered now.
    pub fn replied(&mut self, ticket: Ticket, departed: Tick, now: Tick) {
        let Some(entry) = self.entries.remove(&ticket) else { return };
        let mobile = entry.request.mobile.as_u64();
        if entry.stage != Stage::Departed {
            self.accounts[entry.request.account].left_line();
        }
        self.mobiles.used_later(mobile, entry.mobile_granted, departed);
        self.accounts[entry.request.account].finished(now, Some(now.saturating_sub(departed)));
        if !self.by_outcome {
            self.leave_lane(mobile, ticket, now);
        }
        self.advance_accounts(entry.request.account, now);
    }

    /// Nothing more is done for a job that was granted: its outcome is committed.
    pub fn settled(&mut self, ticket: Ticket, mobile: Mobile, now: Tick) {
        if self.by_outcome {
            self.leave_lane(mobile.as_u64(), ticket, now);
        }
    }

    /// A granted job made no request after all: its tokens are given back.
    pub fn abandoned(&mut self, ticket: Ticket, now: Tick) {
        let Some(entry) = self.entries.remove(&ticket) else { return };
        let (mobile, account) = (entry.request.mobile.as_u64(), entry.request.account);
        if entry.stage != Stage::Departed {
            self.accounts[account].left_line();
        }
        self.mobiles.refund(mobile);
        self.accounts[account].refund();
        self.accounts[account].finished(now, None);
        self.accounts[account].made_no_request(ticket);
        self.circuit.abandoned();
        self.leave_lane(mobile, ticket, now);
        self.advance_accounts(account, now);
    }

    fn leave_lane(&mut self, mobile: u64, ticket: Ticket, now: Tick) {
        if let Some(lane) = self.lanes.get_mut(&mobile) {
            if lane.ahead == Some(ticket) {
                lane.ahead = None;
            }
            self.advance_lane(mobile, now);
        }
    }

    /// Once a second or so: ends the waiting of what has expired or is overdue, and evicts idle
    /// numbers.
    pub fn tend(&mut self, now: Tick) {
        let expired = self.waiting(|entry| entry.request.expires.is_some_and(|at| at <= now));
        expired.into_iter().for_each(|ticket| self.withdraw(ticket, Turn::Expired, now));
        if !self.circuit.is_open() {
            let overdue = self.waiting(|entry| entry.stage == Stage::Account && entry.mobile_granted + OVERDUE <= now);
            for ticket in overdue {
                self.park_with_those_behind(ticket, now);
            }
        }
        self.make_room_in_an_outage(now);
        self.mobiles.sweep(now);
        self.tails.sweep(now);
    }

    /// The jobs that wait in memory and match, in order of arrival.
    fn waiting(&self, matches: impl Fn(&Entry) -> bool) -> Vec<Ticket> {
        let mut found: Vec<(i64, Ticket)> = (self.entries.values())
            .filter(|entry| matches!(entry.stage, Stage::Mobile | Stage::Account) && matches(entry))
            .map(|entry| (entry.request.seq, entry.request.ticket))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// Parks a job that waits for its account, and those of its number that must not go before it.
    fn park_with_those_behind(&mut self, ticket: Ticket, now: Tick) {
        let Some(Request { account, mobile, priority, .. }) = self.entries.get(&ticket).map(|entry| entry.request)
        else {
            return;
        };
        let behind = self.lanes.get(&mobile.as_u64()).map(|lane| lane.waiting[priority.index()].clone());
        let park = |pacer: &mut Pacer, ticket, account| {
            pacer.pull(ticket, Turn::Park(pacer.for_room(account, priority, now)), now)
        };
        if park(self, ticket, account).is_none() {
            return;
        }
        for next in behind.into_iter().flatten() {
            let account = self.entries.get(&next).map_or(account, |entry| entry.request.account);
            park(self, next, account);
        }
        self.leave_lane(mobile.as_u64(), ticket, now);
    }

    /// Takes a waiting job out of its queue and tells it `turn`. One that has been granted meanwhile,
    /// because another before it was withdrawn, goes.
    fn withdraw(&mut self, ticket: Ticket, turn: Turn, now: Tick) {
        if let Some(mobile) = self.pull(ticket, turn, now) {
            self.leave_lane(mobile, ticket, now);
        }
    }

    /// The same, but its place in its lane stays taken. The lane, if it was withdrawn.
    fn pull(&mut self, ticket: Ticket, turn: Turn, now: Tick) -> Option<u64> {
        let Entry { request, stage, .. } = self.entries.get(&ticket)?;
        let (request, stage) = (*request, *stage);
        if matches!(stage, Stage::Granted | Stage::Departed) {
            return None;
        }
        let mobile = request.mobile.as_u64();
        if stage == Stage::Account {
            self.accounts[request.account].ready[request.priority.index()].retain(|other| *other != ticket);
            self.mobiles.refund(mobile);
        } else if let Some(lane) = self.lanes.get_mut(&mobile) {
            lane.waiting[request.priority.index()].retain(|other| *other != ticket);
            self.accounts[request.account].in_lanes[request.priority.index()] -= 1;
        }
        match turn {
            Turn::Park(park) => self.park(ticket, park, now),
            turn => {
                self.entries.remove(&ticket);
                self.told.push((ticket, turn));
            }
        }
        Some(mobile)
    }

    /// Jobs of an account between grant and reply.
    pub fn in_flight(&self, account: usize) -> u32 {
        self.accounts[account].in_flight
    }

    /// Jobs in memory.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no job is in memory.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Numbers that are tracked.
    pub fn tracked_mobiles(&self) -> usize {
        self.mobiles.len()
    }
}

#[cfg(test)]
mod tests;
