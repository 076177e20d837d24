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
pub mod bucket;
pub mod circuit;
mod mode;
mod tail;
mod turn;

pub use mode::{Mode, News};
pub use turn::{Former, Park, Request, Room, Standing, Ticket, Turn, Waited};

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use super::job::{Priority, Timestamp, WaitReason};
use super::mobile::Mobile;
use account::{Account, AccountPace};
use bucket::{Bucket, MobileBuckets, Tick};
use circuit::Circuit;
use tail::{Place, Tails};

/// A job whose turn is further away than this is parked.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// While many wait in memory, jobs that would wait longer than this for their account are parked: the
/// prefetch is for all accounts, and one account's backlog must not hold up what stands behind it in
/// RabbitMQ. An account that is through with its jobs sooner is no slower than Postgres would be.
const CROWDED: Duration = Duration::from_millis(250);
/// Parked jobs are released when their turn is this close.
pub const HORIZON: Duration = Duration::from_secs(2);
/// A released job is parked again only beyond this: it was let out for its turn, and when that comes
/// a little later than was thought, waiting costs less than another round.
const LENIENCE: Duration = Duration::from_secs(4);
/// While an account's queue is shorter than this, newcomers go past the jobs that are parked for it:
/// those are on their way, perhaps behind a backlog in RabbitMQ, and tokens would be left unused.
const IDLE: Duration = Duration::from_millis(100);
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
            crowd: usize::MAX,
        }
    }

    /// From now on several accounts share room in memory for so many jobs of each priority: no account
    /// fills more than half of it for long.
    pub fn share_memory(&mut self, jobs: usize) {
        self.crowd = (jobs / 2).max(1);
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

    /// Is it parked at once? `from`: where it was parked before.
    fn must_park(&self, request: &Request, from: Option<Place>, now: Tick) -> Option<Park> {
        if let Some(until) = request.quiet {
            return Some(Park { reason: WaitReason::QuietHours, due: Some(until), on_room: false });
        }
        let account = &self.accounts[request.account];
        if account.mode == Mode::Paused {
            return Some(Park { reason: WaitReason::AccountPaused, due: None, on_room: true });
        }
        let by_account =
            || Park { reason: WaitReason::RateLimited, due: Some(account.slot(request.priority, now)), on_room: true };
        let by_number = |slot: Tick| Park { reason: WaitReason::RateLimited, due: Some(slot), on_room: false };
        let lane_is_parked = account.parked[request.priority.index()].count > 0;
        if let Some(place) = self.tails.to_follow(request, from, now) {
            let slot = (place.due + self.spacing(request.account)).max(now);
            return Some(match place.reason {
                // Who waited for a window or for the morning waits for room from then on.
                WaitReason::NumberLimit | WaitReason::QuietHours if now < place.due => {
                    Park { reason: place.reason, due: Some(slot), on_room: false }
                }
                WaitReason::NumberLimit | WaitReason::QuietHours => by_account(),
                _ if place.on_room => by_account(),
                _ => by_number(slot),
            });
        }
        if request.keep {
            return Some(by_account());
        }
        if request.standing == Standing::New && lane_is_parked && account.wait(request.priority, now) > IDLE {
            return Some(by_account());
        }
        if self.circuit.is_open() {
            // It stays in memory, and its successors in RabbitMQ, until the gateway is back.
            return None;
        }
        let (patience, crowded) = match request.standing {
            Standing::Released => (LENIENCE, LENIENCE),
            // The first answer may pause an account: what it could do soon waits for that.
            Standing::New | Standing::Before if account.was_answered() && self.is_crowded(request.priority) => {
                (PATIENCE, CROWDED)
            }
            Standing::New | Standing::Before => (PATIENCE, PATIENCE),
        };
        let slot = self.mobile_slot(request, now);
        if slot > now + patience {
            return Some(by_number(slot));
        }
        let wait = match request.standing {
            Standing::Released => account.wait_behind_half(request.priority, now),
            Standing::New | Standing::Before => account.wait_behind_all(request.priority, now),
        };
        (wait > crowded).then(by_account)
    }

    /// Do so many jobs of `priority` wait in memory that there could be no room for another account's?
    fn is_crowded(&self, priority: Priority) -> bool {
        self.crowd <= self.accounts.iter().map(|account| account.waiting(priority)).sum()
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

    /// When the number would have a token for a newcomer, behind those that wait in memory.
    fn mobile_slot(&self, request: &Request, now: Tick) -> Tick {
        let mobile = request.mobile.as_u64();
        let ahead = self
            .lanes
            .get(&mobile)
            .map_or(0, |lane| lane.waiting[..=request.priority.index()].iter().map(VecDeque::len).sum::<usize>());
        self.mobiles.next_token(mobile).max(now) + self.spacing(request.account) * ahead as u32
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

    /// Parks a job that is in no queue.
    fn park(&mut self, ticket: Ticket, park: Park, now: Tick) {
        let Some(entry) = self.entries.remove(&ticket) else { return };
        if park.on_room {
            self.accounts[entry.request.account].parked[entry.request.priority.index()].count += 1;
        }
        if park.reason != WaitReason::AccountPaused {
            self.tails.parked(&entry.request, Place::of(park, entry.request.account, now));
        }
        self.told.push((ticket, Turn::Park(park)));
    }

    /// Postgres has parked a job that was told to park.
    pub fn parked_for_good(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        self.tails.stored(mobile, priority, seq);
    }

    /// Postgres has not parked a job that was told to park: its message was a copy. Nobody waits behind it.
    pub fn not_parked(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        self.tails.returned(mobile, priority, seq);
    }

    /// A released job has come back, to go on or to be stored without a turn.
    pub fn returned(&mut self, account: usize, mobile: Mobile, priority: Priority, seq: i64) {
        self.came_back(account, mobile, priority, seq);
    }

    /// The same; where it was, if it was parked again.
    fn came_back(&mut self, account: usize, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        self.accounts[account].returned(priority);
        self.tails.returned(mobile, priority, seq)
    }

    /// Jobs that a former owner of this shard has parked, so that newcomers go behind them.
    pub fn restore_parked(&mut self, mobile: Mobile, priority: Priority, former: Former) {
        self.tails.restore(mobile, priority, former);
    }

    /// The place, in the order of arrival, of a message that a former owner held in memory when it
    /// ended: before those that it had parked behind it. `None` where it had parked none, or where
    /// this one was published after them.
    pub fn place(&mut self, mobile: Mobile, priority: Priority, published: Option<Timestamp>) -> Option<i64> {
        self.tails.place(mobile, priority, published)
    }

    /// So many more jobs are parked for an account.
    pub fn add_backlog(&mut self, account: usize, priority: Priority, jobs: u64) {
        self.accounts[account].parked[priority.index()].count += jobs;
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
        if let Mode::Probing { out } = &mut self.accounts[account].mode {
            *out = false;
        }
        self.circuit.abandoned();
        self.leave_lane(mobile, ticket, now);
        self.advance_accounts(account, now);
    }

    /// A granted job is held by Postgres, or by the hour, until the park's due time: its tokens are given
    /// back, and who comes after it goes behind it. Where its number has had all that it may get, that
    /// holds for whoever waits behind it in memory, too.
    pub fn held(&mut self, ticket: Ticket, park: Park, now: Tick) {
        let Some(request) = self.entries.get(&ticket).map(|entry| entry.request) else { return };
        self.tails.parked(&request, Place::of(park, request.account, now));
        if park.reason == WaitReason::NumberLimit {
            let behind = self.lanes.get(&request.mobile.as_u64()).map(|lane| lane.waiting.iter().flatten().copied());
            let behind: Vec<Ticket> = behind.into_iter().flatten().collect();
            let mut due = park.due.unwrap_or(now);
            for next in behind {
                due += self.spacing(request.account);
                self.withdraw(next, Turn::Park(Park { due: Some(due), ..park }), now);
            }
        }
        self.abandoned(ticket, now);
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
                let Some(Request { account, priority, .. }) = self.entries.get(&ticket).map(|e| e.request) else {
                    continue;
                };
                let due = Some(self.accounts[account].slot(priority, now));
                self.withdraw(ticket, Turn::Park(Park { reason: WaitReason::RateLimited, due, on_room: true }), now);
            }
        }
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

    /// Takes a waiting job out of its queue and tells it `turn`. One that has been granted meanwhile,
    /// because another before it was withdrawn, goes.
    fn withdraw(&mut self, ticket: Ticket, turn: Turn, now: Tick) {
        let Some(Entry { request, stage, .. }) = self.entries.get(&ticket) else { return };
        let (request, stage) = (*request, *stage);
        if matches!(stage, Stage::Granted | Stage::Departed) {
            return;
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
        self.leave_lane(mobile, ticket, now);
    }

    /// A job that waits for room is committed. The count was raised when it was told to park; a look
    /// in between has not found it, and has set the count to nothing.
    pub fn stored(&mut self, account: usize, priority: Priority) {
        self.accounts[account].suspect(priority);
    }

    /// Parked jobs that nobody counted are looked for: those of a session before, committed after this
    /// one began.
    pub fn look_for_parked(&mut self) {
        for account in &mut self.accounts {
            Priority::ALL.iter().for_each(|priority| account.suspect(*priority));
        }
    }

    /// Where parked jobs could be released to, now. While the circuit is open one alone, and only where nobody
    /// is in memory who could probe: else a backlog would wait for a newcomer.
    pub fn rooms(&mut self, now: Tick) -> Vec<Room> {
        let mut rooms = Vec::new();
        let is_open = self.circuit.is_open();
        if is_open && !(self.entries.is_empty() && self.circuit.admits(now)) {
            return rooms;
        }
        let shares: [usize; 3] = std::array::from_fn(|priority| self.share_of_memory(priority));
        for (index, account) in self.accounts.iter_mut().enumerate() {
            for priority in Priority::ALL.iter().copied() {
                let jobs = account.room(priority, shares[priority.index()], now);
                if jobs > 0 && account.take_suspicion(priority) {
                    let jobs = if is_open { 1 } else { jobs };
                    rooms.push(Room { account: index, priority, jobs });
                    if is_open {
                        return rooms;
                    }
                }
            }
        }
        rooms
    }

    /// Released jobs of a priority that each account with a backlog may have in memory.
    fn share_of_memory(&self, priority: usize) -> usize {
        let backlogs = self.accounts.iter().filter(|account| account.parked[priority].count > 0).count();
        self.crowd / backlogs.max(1)
    }

    /// `released` jobs were found for a room.
    pub fn released(&mut self, room: Room, released: usize, now: Tick) {
        self.accounts[room.account].released(room.priority, room.jobs, released, now);
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
