//! One account's turn-taking: whose job goes next, and how long a newcomer would wait.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::{AccountBucket, Bucket, Tick};
use super::mode::{Mode, Refusals};
use super::{HORIZON, Ticket};
use crate::domain::job::Priority;

/// Tokens that a waiting lower priority lets pass before it gets one itself: one in ten is its.
const PASSED_OVER: u32 = 9;
/// Time over which the pace of each priority is averaged.
const PACE_WINDOW: f64 = 2.0;
/// Jobs of one account and priority that are released ahead at most, whatever its rate.
const ROOM_LIMIT: usize = 2_000;
/// About how long the commit of a claim takes on a busy system.
const COMMIT_SECONDS: f64 = 0.02;
/// See [`Account::line`].
const LINE_SECONDS: f64 = 0.25;
/// Released jobs suffice for so long at least, however little room in memory there is: they are
/// released a few times a second.
const AHEAD_SECONDS: f64 = 0.5;
/// A released job that has not come back after this long is no longer counted as on its way.
const TRANSIT: Duration = Duration::from_secs(5);

/// What an account is configured to.
#[derive(Clone, Debug)]
pub struct AccountPace {
    /// Its bucket.
    pub bucket: Bucket,
    /// Requests on the wire at once.
    pub max_in_flight: u32,
    /// So many numbers refused for good in a row pause it; 0: never.
    pub refusals: u32,
}

/// The state of one account's limiter.
pub(super) struct Account {
    /// The strict bucket, asked at departure. `plan` and `gate` have the same rate: the plan says
    /// when to claim, the gate keeps the distance on the wire when claims are committed in bunches.
    pub gate: AccountBucket,
    plan: AccountBucket,
    /// Time between two tokens, and how many a second that makes.
    period: Duration,
    rate: f64,
    max_in_flight: u32,
    pub mode: Mode,
    /// The last job that went to see whether it is cured.
    pub probe: Option<Ticket>,
    pub refusals: Refusals,
    pub ready: [VecDeque<Ticket>; 3],
    /// Jobs in memory that their numbers still hold back.
    pub in_lanes: [usize; 3],
    pub in_flight: u32,
    /// Of those, claimed and not yet departed.
    undeparted: u32,
    passed_over: [u32; 3],
    pace: [Pace; 3],
    pub parked: [Parked; 3],
    reply_seconds: Option<f64>,
    last_progress: Tick,
}

/// Jobs that Postgres holds for an account and priority until there is room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parked {
    /// About how many: an estimate for slots.
    pub count: u64,
    /// There may be some beyond the count: those that were stored after the last look.
    suspected: bool,
    in_transit: usize,
    released_at: Tick,
}

/// Grants a second, averaged over [`PACE_WINDOW`].
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    weight: f64,
    at: Tick,
}

impl Pace {
    fn decayed(&self, now: Tick) -> f64 {
        self.weight * (-now.saturating_sub(self.at).as_secs_f64() / PACE_WINDOW).exp()
    }

    fn count(&mut self, now: Tick) {
        *self = Pace { weight: self.decayed(now) + 1.0, at: now };
    }

    fn per_second(&self, now: Tick) -> f64 {
        self.decayed(now) / PACE_WINDOW
    }
}

/// A fifth of the burst is kept back for what the way to the gateway bunches up: the limit counts
/// there.
fn on_the_wire(bucket: Bucket) -> Bucket {
    Bucket { burst: bucket.burst - bucket.burst / 5, ..bucket }
}

impl Account {
    pub fn new(pace: &AccountPace, now: Tick) -> Self {
        Account {
            gate: AccountBucket::empty(on_the_wire(pace.bucket), now),
            plan: AccountBucket::empty(pace.bucket, now),
            period: pace.bucket.period,
            rate: 1.0 / pace.bucket.period.as_secs_f64(),
            max_in_flight: pace.max_in_flight.max(1),
            mode: Mode::Active,
            probe: None,
            refusals: Refusals::new(pace.refusals),
            ready: Default::default(),
            in_lanes: [0; 3],
            in_flight: 0,
            undeparted: 0,
            passed_over: [0; 3],
            pace: [Pace::default(); 3],
            parked: [Parked::default(); 3],
            reply_seconds: None,
            last_progress: now,
        }
    }

    /// Jobs that may be claimed at once: somewhat more than may be on the wire, so that a commit
    /// under way never leaves the wire idle; but no more than leave while a commit takes, because a
    /// claim that has not left is a doubt after a crash all the same.
    fn claims_at_once(&self, now: Tick) -> u32 {
        let leaving = (self.capacity(now) * COMMIT_SECONDS).ceil() as u32;
        self.max_in_flight + leaving.clamp(2, self.max_in_flight / 4 + 16)
    }

    /// Jobs between grant and departure at most: a quarter of a second's worth. They stand in one line
    /// without priority; after a stall it would else be as long as the stall, for good, because the
    /// plan grants as fast as the gate lets go.
    fn line(&self) -> u32 {
        (self.rate * LINE_SECONDS).ceil().clamp(1.0, 1e6) as u32
    }

    /// When to ask again, where a job that is claimed now would wait for the gate behind those in line for longer
    /// than that: the plan may be ahead of the gate, which has less burst and also lets attempts through that the
    /// plan never saw. A claim protects its attempt for some seconds only, and a slow account's token is minutes away.
    fn claim_would_wait(&self, now: Tick) -> Option<Tick> {
        let departs = self.gate.next_token() + self.period * self.undeparted;
        let at = departs.saturating_sub(Duration::from_secs_f64(LINE_SECONDS));
        (at > now).then_some(at)
    }

    /// When the account has its next token, for the plan and on the wire; `now` or earlier if it has one.
    fn next_token(&self) -> Tick {
        self.plan.next_token().max(self.gate.next_token())
    }

    /// A granted job has departed, or will not.
    pub fn left_line(&mut self) {
        self.undeparted = self.undeparted.saturating_sub(1);
    }

    fn may_send(&self) -> bool {
        matches!(self.mode, Mode::Active | Mode::Probing { out: false })
    }

    /// Takes the next job in turn if there is a token for it; else says when to ask again (`None`:
    /// when something else happens).
    pub fn next(&mut self, now: Tick) -> Result<Ticket, Option<Tick>> {
        if !self.may_send() || self.in_flight >= self.claims_at_once(now) || self.undeparted >= self.line() {
            return Err(None);
        }
        let priority = self.in_turn().ok_or(None)?;
        if let Some(at) = self.claim_would_wait(now) {
            return Err(Some(at));
        }
        self.plan.take(now).map_err(Some)?;
        for other in (0..3).filter(|other| *other != priority) {
            self.passed_over[other] = if self.ready[other].is_empty() { 0 } else { self.passed_over[other] + 1 };
        }
        self.passed_over[priority] = 0;
        self.pace[priority].count(now);
        if self.in_flight == 0 {
            self.last_progress = now;
        }
        self.in_flight += 1;
        self.undeparted += 1;
        let next = self.ready[priority].pop_front();
        if let Mode::Probing { out } = &mut self.mode {
            *out = true;
            self.probe = next;
        }
        next.ok_or(None)
    }

    /// The highest priority that waits, unless a lower one has been passed over often enough.
    fn in_turn(&self) -> Option<usize> {
        let mut waiting = (0..3).filter(|p| !self.ready[*p].is_empty());
        let highest = waiting.next()?;
        Some(waiting.find(|p| self.passed_over[*p] >= PASSED_OVER).unwrap_or(highest))
    }

    /// A granted job is done with the wire. `took` is the time from departure to reply, where
    /// there was a request.
    pub fn finished(&mut self, now: Tick, took: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(took) = took {
            let seconds = took.as_secs_f64();
            self.reply_seconds = Some(self.reply_seconds.map_or(seconds, |mean| mean * 0.9 + seconds * 0.1));
            self.last_progress = now;
        }
    }

    /// A granted job was not sent. Where it was the probe, the next one is.
    pub fn made_no_request(&mut self, ticket: Ticket) {
        if let Mode::Probing { out } = &mut self.mode
            && self.probe == Some(ticket)
        {
            *out = false;
        }
    }

    /// The token of a job that turned out to need none.
    pub fn refund(&self) {
        self.plan.refund();
    }

    /// The gateway has answered a request of it.
    pub fn was_answered(&self) -> bool {
        self.reply_seconds.is_some()
    }

    /// Seconds between departure and reply, where known.
    pub fn reply_seconds(&self) -> f64 {
        self.reply_seconds.unwrap_or(0.0)
    }

    /// Jobs a second that the account can do: its rate, or what the gateway's answers allow with
    /// so many in flight.
    fn capacity(&self, now: Tick) -> f64 {
        let full = self.in_flight >= self.max_in_flight;
        let stalled = if full { now.saturating_sub(self.last_progress).as_secs_f64() } else { 0.0 };
        let seconds = self.reply_seconds.unwrap_or(0.0).max(stalled);
        if seconds > 0.0 { self.rate.min(f64::from(self.max_in_flight) / seconds) } else { self.rate }
    }

    /// Jobs a second that `priority` can expect: what the higher ones leave, never under a tenth.
    fn share(&self, priority: usize, now: Tick) -> f64 {
        let capacity = self.capacity(now);
        let higher: f64 = (0..priority).map(|p| self.pace[p].per_second(now)).sum();
        (capacity - higher).max(capacity / 10.0)
    }

    /// How long a newcomer of `priority` would wait here that its number does not hold back: behind its own
    /// and the higher ones, but never longer than with every tenth token.
    pub fn wait(&self, priority: Priority, now: Tick) -> Duration {
        self.wait_behind(std::array::from_fn(|p| self.ready[p].len()), priority, now)
    }

    /// The same behind all that is in memory, as if nobody's number held him back.
    pub fn wait_behind_all(&self, priority: Priority, now: Tick) -> Duration {
        self.wait_behind(std::array::from_fn(|p| self.ready[p].len() + self.in_lanes[p]), priority, now)
    }

    /// The same behind those alone that surely go meanwhile: of the jobs that are released for their turn, numbers
    /// hold some back for twice the horizon.
    pub fn wait_behind_half(&self, priority: Priority, now: Tick) -> Duration {
        self.wait_behind(std::array::from_fn(|p| self.ready[p].len() + self.in_lanes[p] / 2), priority, now)
    }

    /// Jobs of `priority` that wait in memory, for their number or for the account.
    pub fn waiting(&self, priority: Priority) -> usize {
        self.ready[priority.index()].len() + self.in_lanes[priority.index()]
    }

    fn wait_behind(&self, lines: [usize; 3], priority: Priority, now: Tick) -> Duration {
        let (own, capacity) = (priority.index(), self.capacity(now));
        let ahead = lines[own] as f64;
        let higher: usize = lines[..own].iter().sum();
        let seconds = (ahead / self.share(own, now) + higher as f64 / capacity).min((ahead + 1.0) * 10.0 / capacity);
        self.next_token().saturating_sub(now) + Duration::from_secs_f64(seconds.min(1e9))
    }

    /// About when a job would have its turn that parks behind all of its priority.
    pub fn slot(&self, priority: Priority, now: Tick) -> Tick {
        let behind = self.parked[priority.index()].count as f64 / self.share(priority.index(), now);
        now + self.wait_behind_all(priority, now) + Duration::from_secs_f64(behind.min(1e9))
    }

    /// How many parked jobs of `priority` could have their turn within the horizon, in memory for
    /// `most` jobs.
    pub fn room(&self, priority: Priority, most: usize, now: Tick) -> usize {
        let parked = &self.parked[priority.index()];
        let in_transit = if now < parked.released_at + TRANSIT { parked.in_transit } else { 0 };
        let taken = self.waiting(priority) + in_transit;
        match self.mode {
            Mode::Paused | Mode::Probing { out: true } => return 0,
            Mode::Probing { out: false } => {
                let has_token = self.next_token() <= now + HORIZON;
                return usize::from(has_token && self.ready.iter().all(VecDeque::is_empty) && taken == 0);
            }
            Mode::Active => {}
        }
        let Some(left) = (now + HORIZON).checked_sub(self.next_token().max(now)) else { return 0 };
        let share = self.share(priority.index(), now);
        let tokens = (left.as_secs_f64() * share).floor() as usize + 1;
        // None at all would be for good.
        let most = most.max((share * AHEAD_SECONDS) as usize).max(1);
        // A number may hold its job back for twice the horizon: of those, half take no token of it, and others would
        // wait behind a few numbers' jobs beside an idle account.
        let later = self.in_lanes[priority.index()].div_ceil(2);
        tokens.min(ROOM_LIMIT).saturating_sub(taken - later).min(most.saturating_sub(taken))
    }

    /// There may be parked jobs of `priority` that are not counted.
    pub fn suspect(&mut self, priority: Priority) {
        self.parked[priority.index()].suspected = true;
    }

    /// Is a look for parked jobs of `priority` worth a statement? The suspicion ends with this look,
    /// not with its answer: what is stored in between must be looked for again.
    pub fn take_suspicion(&mut self, priority: Priority) -> bool {
        let parked = &mut self.parked[priority.index()];
        std::mem::take(&mut parked.suspected) || parked.count > 0
    }

    /// `released` of the `asked` jobs that there was room for were there to be released.
    pub fn released(&mut self, priority: Priority, asked: usize, released: usize, now: Tick) {
        let parked = &mut self.parked[priority.index()];
        let before = if now < parked.released_at + TRANSIT { parked.in_transit } else { 0 };
        parked.in_transit = before + released;
        parked.released_at = now;
        parked.count = if released < asked { 0 } else { parked.count.saturating_sub(released as u64).max(1) };
    }

    /// A job that was released has come back.
    pub fn returned(&mut self, priority: Priority) {
        let parked = &mut self.parked[priority.index()];
        parked.in_transit = parked.in_transit.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(rate: u32) -> Account {
        let bucket = Bucket { period: Duration::from_secs(1) / rate, burst: 1 };
        Account::new(&AccountPace { bucket, max_in_flight: 1_000_000, refusals: 0 }, Tick::ZERO)
    }

    fn granted(account: &mut Account, seconds: u64) -> [u32; 3] {
        let mut counts = [0; 3];
        for ms in 0..seconds * 1_000 {
            while let Ok(ticket) = account.next(Duration::from_millis(ms)) {
                counts[ticket as usize] += 1;
                account.left_line();
                account.ready[ticket as usize].push_back(ticket);
            }
        }
        counts
    }

    #[test]
    fn lower_priorities_get_one_token_in_ten_each() {
        let mut account = account(100);
        for p in 0..3 {
            account.ready[p].push_back(p as Ticket);
        }
        let [high, normal, bulk] = granted(&mut account, 10);
        assert!((780..=820).contains(&high), "{high}");
        assert!((95..=105).contains(&normal) && (95..=105).contains(&bulk), "{normal} {bulk}");
    }

    #[test]
    fn a_lone_priority_gets_every_token() {
        let mut account = account(100);
        account.ready[2].push_back(2);
        assert!((995..=1_000).contains(&granted(&mut account, 10)[2]));
    }

    #[test]
    fn the_wait_follows_the_queue_and_the_higher_ones() {
        let mut account = account(100);
        let now = Duration::from_secs(1);
        assert_eq!(account.wait(Priority::Bulk, now), Duration::ZERO);
        (0..100).for_each(|t| account.ready[2].push_back(t));
        assert_eq!(account.wait(Priority::Bulk, now).as_millis(), 1_000);
        assert_eq!(account.wait(Priority::High, now), Duration::ZERO);
        assert_eq!(account.room(Priority::High, usize::MAX, now), 201);
        assert_eq!(account.room(Priority::Bulk, usize::MAX, now), 101);
    }

    #[test]
    fn a_paused_account_has_no_room_and_a_probing_one_has_one() {
        let mut account = account(100);
        let now = Duration::from_secs(1);
        account.mode = Mode::Paused;
        account.ready[0].push_back(1);
        assert_eq!((account.room(Priority::High, usize::MAX, now), account.next(now)), (0, Err(None)));
        account.mode = Mode::Probing { out: false };
        assert_eq!(account.room(Priority::High, usize::MAX, now), 0, "one waits already");
        assert_eq!(account.next(now), Ok(1));
        assert_eq!(account.room(Priority::High, usize::MAX, now), 0);
        assert_eq!(account.mode, Mode::Probing { out: true });
    }

    #[test]
    fn a_gateway_that_does_not_answer_stretches_the_wait() {
        let mut account = account(1_000);
        account.max_in_flight = 10;
        (0..60).for_each(|t| account.ready[1].push_back(t));
        let start = Duration::from_secs(1);
        while account.next(start + Duration::from_millis(u64::from(account.in_flight))).is_ok() {}
        assert!((11..=28).contains(&account.in_flight), "{}", account.in_flight);
        assert!(account.wait(Priority::Normal, start + Duration::from_secs(5)) > Duration::from_secs(10));
    }
}
