//! Parking: whether a job waits in memory or in Postgres, with which place, and what is remembered of
//! those that Postgres has.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::Tick;
use super::place::Place;
use super::tail::LineEnd;
use super::{Former, Mode, PATIENCE, Pacer, Park, Request, Standing, Ticket, Turn};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// While many wait in memory, jobs that would wait longer than this for their account are parked: the
/// prefetch is for all accounts, and one account's backlog must not hold up what stands behind it in
/// RabbitMQ. An account that is through with its jobs sooner is no slower than Postgres would be.
const CROWDED: Duration = Duration::from_millis(250);
/// A released job is parked again only beyond this: it was let out for its turn, and when that comes
/// a little later than was thought, waiting costs less than another round.
const LENIENCE: Duration = Duration::from_secs(4);
/// While an account's queue is shorter than this, newcomers go past the jobs that are parked for it:
/// those are on their way, perhaps behind a backlog in RabbitMQ, and tokens would be left unused.
const IDLE: Duration = Duration::from_millis(100);
/// So long after its expiry a job is certainly expired, although slots are let out a little ahead.
const EXPIRED: Duration = Duration::from_secs(10);
/// A job that waits longer than this for its own account is no probe for the others.
const SLOW: Duration = Duration::from_secs(60);
/// A circuit that is open for longer is no blip: what would fill the memory is parked.
const OUTAGE: Duration = Duration::from_secs(5);
/// Until the end of a pause, which nobody knows.
pub(super) const PAUSED: Park = Park { reason: WaitReason::AccountPaused, due: None, on_room: true };

impl Pacer {
    /// Is it parked at once? `from`: where it was parked before.
    pub(super) fn must_park(&self, request: &Request, from: Option<Place>, now: Tick) -> Option<Park> {
        if let Some(until) = request.quiet {
            return Some(Park { reason: WaitReason::QuietHours, due: Some(until), on_room: false });
        }
        let account = &self.accounts[request.account];
        let by_number = |slot: Tick| {
            // Postgres expires it before it would be let out; its slot is the next one's.
            let due = request.expires.map_or(slot, |at| slot.min(at + EXPIRED));
            Park { reason: WaitReason::RateLimited, due: Some(due), on_room: false }
        };
        if account.mode == Mode::Paused {
            // Behind those of its number that come back at their slots to wait for the end of the pause.
            let slot = self.tails.slot_to_follow(request, now).map(|due| due + self.spacing(request.account));
            return Some(slot.map_or(PAUSED, by_number));
        }
        let by_account = || self.for_room(request.account, request.priority, now);
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
            // It stays in memory until the gateway is back, but takes no place from those that stand behind it in
            // RabbitMQ, where nobody would see them expire.
            let is_full = self.circuit.is_open_for(OUTAGE, now) && self.fills_memory(request.priority);
            // Nor the probe from an account that could make it long before.
            let is_slow = account.wait_behind_all(request.priority, now) > SLOW;
            let slot = self.mobile_slot(request, now);
            if slot <= now + LENIENCE {
                return (is_full || is_slow).then(by_account);
            }
            // What piled up for one number would pass its limiter one by one afterwards, before the account's others.
            // One that waits for its number alone would come out of the account's line as the probe that it cannot be.
            let is_piled_up = self.lanes.contains_key(&request.mobile.as_u64());
            return Some(if is_piled_up { by_account() } else { by_number(slot) });
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

    /// Until its account has room, behind all of its priority.
    pub(super) fn for_room(&self, account: usize, priority: Priority, now: Tick) -> Park {
        let account = &self.accounts[account];
        match account.mode {
            Mode::Active => {
                Park { reason: WaitReason::RateLimited, due: Some(account.slot(priority, now)), on_room: true }
            }
            // Nobody knows how long a pause takes, nor whether the probe ends it.
            Mode::Paused | Mode::Probing { .. } => PAUSED,
        }
    }

    /// Do so many jobs of `priority` wait in memory that there could be no room for another account's?
    fn is_crowded(&self, priority: Priority) -> bool {
        self.crowd <= self.waiting_in_memory(priority)
    }

    /// What came before an outage was seen to be one may have filled the memory: the later half is parked, too.
    pub(super) fn make_room_in_an_outage(&mut self, now: Tick) {
        if !self.circuit.is_open_for(OUTAGE, now) {
            return;
        }
        for priority in Priority::ALL.iter().copied() {
            for ticket in
                self.waiting(|entry| entry.request.priority == priority).into_iter().skip(self.half_of_memory())
            {
                let Some(account) = self.entries.get(&ticket).map(|entry| entry.request.account) else { continue };
                self.withdraw(ticket, Turn::Park(self.for_room(account, priority, now)), now);
            }
        }
    }

    /// Does half of the memory for jobs of `priority` wait?
    fn fills_memory(&self, priority: Priority) -> bool {
        self.half_of_memory() <= self.waiting_in_memory(priority)
    }

    /// At least one job must stay there, to probe.
    fn half_of_memory(&self) -> usize {
        (self.memory / 2).max(1)
    }

    fn waiting_in_memory(&self, priority: Priority) -> usize {
        self.accounts.iter().map(|account| account.waiting(priority)).sum()
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

    /// Parks a job that is in no queue.
    pub(super) fn park(&mut self, ticket: Ticket, park: Park, now: Tick) {
        let Some(entry) = self.entries.remove(&ticket) else { return };
        if park.on_room {
            self.accounts[entry.request.account].parked[entry.request.priority.index()].count += 1;
            self.tails.backlogs.account_is_waited_for(entry.request.account);
        }
        self.tails.parked(&entry.request, Place::of(park, &entry.request, now), now);
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

    /// The end of a number's line of slots, if one is still to come. What is found in Postgres after this was asked
    /// may shorten it.
    pub fn end_of_line(&self, mobile: Mobile, priority: Priority, now: Tick) -> Option<LineEnd> {
        self.tails.end_of_line(mobile, priority, now)
    }

    /// The last slot that is still taken in the line with this end is that at `last`, or none is: newcomers go behind
    /// that one.
    pub fn shorten_line(&mut self, mobile: Mobile, priority: Priority, end: LineEnd, last: Option<Tick>, now: Tick) {
        self.tails.shorten(mobile, priority, end, last.map_or(now, |last| last.max(now)), now);
    }

    /// A released job has come back, to go on or to be stored without a turn.
    pub fn returned(&mut self, account: usize, mobile: Mobile, priority: Priority, seq: i64) {
        self.came_back(account, mobile, priority, seq);
    }

    /// The same; where it was, if it was parked again.
    pub(super) fn came_back(&mut self, account: usize, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        self.accounts[account].returned(priority);
        self.tails.returned(mobile, priority, seq)
    }

    /// Jobs that a former owner of this shard has parked, so that newcomers go behind them.
    pub fn restore_parked(&mut self, mobile: Mobile, priority: Priority, former: Former, now: Tick) {
        self.tails.restore(mobile, priority, former, now);
    }

    /// The place, in the order of arrival, of a message that a former owner held in memory when it
    /// ended: before those that it had parked behind it. `None` where it had parked none, or where
    /// this one was published after them.
    pub fn place(&mut self, mobile: Mobile, priority: Priority, published: Option<Timestamp>) -> Option<i64> {
        self.tails.place(mobile, priority, published)
    }

    /// A granted job is held by Postgres, or by the hour, until the park's due time: its tokens are given
    /// back, and who comes after it goes behind it. Where its number has had all that it may get, that
    /// holds for whoever waits behind it in memory, too.
    pub fn held(&mut self, ticket: Ticket, park: Park, now: Tick) {
        let Some(request) = self.entries.get(&ticket).map(|entry| entry.request) else { return };
        self.tails.parked(&request, Place::of(park, &request, now), now);
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
}
