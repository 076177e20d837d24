//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::bucket::Tick;
use super::{Former, Park, Request, Standing};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
const GRACE: Duration = Duration::from_secs(60);
/// Nobody knows how long a pause takes, or a backlog. A job that waits for its end is waited for so long.
const DAY: Duration = Duration::from_secs(86_400);

/// Where a parked job stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its slot.
    pub due: Tick,
    /// It waits for room, not for the slot.
    pub on_room: bool,
    /// What for.
    pub reason: WaitReason,
    /// The account whose room it waits for, where that is known.
    pub account: Option<usize>,
}

impl Place {
    /// Where `park` puts a job.
    pub fn of(park: Park, request: &Request, now: Tick) -> Place {
        let Park { reason, due, on_room } = park;
        let paused = now + DAY;
        let due = due.unwrap_or_else(|| request.expires.map_or(paused, |at| at.clamp(now, paused)));
        Place { due, on_room, reason, account: Some(request.account) }
    }

    fn is_paused(&self) -> bool {
        self.reason == WaitReason::AccountPaused
    }

    /// It waits for an account that may not send, and that is not this one.
    fn is_paused_elsewhere(&self, account: usize) -> bool {
        self.is_paused() && self.account.is_some_and(|own| own != account)
    }

    /// Whoever was let out of this place has nobody at the other before it: of one room, and of slots, jobs
    /// are let out in order.
    fn is_let_out_after(&self, other: &Place) -> bool {
        match (self.on_room, other.on_room) {
            (true, true) => self.account.is_some() && self.account == other.account,
            (false, false) => self.due >= other.due,
            _ => false,
        }
    }
}

/// Where the last parked job of a number and priority stands. A campaign may have one for each of millions: it
/// takes 16 bytes, and what few of them need is apart.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// The last of those that Postgres has parked, in the order of arrival.
    last_seq: i64,
    /// The last place: its slot in microseconds, and below that, in [`FLAGS`] bits, what [`Tail::last`] reads.
    last: u64,
}

/// Bits for the index of the reason, and one each for the two that follow.
const REASON: u64 = 0b111;
const ON_ROOM: u64 = 1 << 3;
/// That one has come back, and so have all that were parked before it.
const IS_BACK: u64 = 1 << 4;
/// Beside the last place: others wait for the end of a pause, and may come back long after it.
const BESIDE_A_PAUSE: u64 = 1 << 5;
/// From this bit on, one more than the index of the account of all of them; nothing where there are several.
const ACCOUNT: u32 = 6;
const ACCOUNTS: u64 = 0b11_1111;
const FLAGS: u32 = 12;

impl Tail {
    /// Nobody is parked yet.
    fn at(last: Place) -> Tail {
        let account = last.account.map_or(0, |account| account as u64 + 1);
        let known = if account <= ACCOUNTS { account } else { 0 };
        let mut tail = Tail { last_seq: i64::MIN, last: IS_BACK | known << ACCOUNT };
        tail.set_last(last);
        tail
    }

    fn last(self) -> Place {
        let account = (self.last >> ACCOUNT & ACCOUNTS) as usize;
        Place {
            due: Duration::from_micros(self.last >> FLAGS),
            on_room: self.last & ON_ROOM != 0,
            reason: WaitReason::ALL[(self.last & REASON) as usize],
            account: account.checked_sub(1),
        }
    }

    /// `account` has jobs in the line, beside those whose account is known.
    fn join(&mut self, account: Option<usize>) {
        if self.last().account != account {
            self.last &= !(ACCOUNTS << ACCOUNT);
        }
    }

    /// The last place, but not whose: see [`Tail::join`].
    fn set_last(&mut self, place: Place) {
        // As far as the bits go: a hundred years.
        let due = u64::try_from(place.due.as_micros()).unwrap_or(u64::MAX).min(u64::MAX >> FLAGS);
        let reason = WaitReason::ALL.iter().position(|reason| *reason == place.reason).unwrap_or_default() as u64;
        let on_room = if place.on_room { ON_ROOM } else { 0 };
        let kept = self.last & (IS_BACK | BESIDE_A_PAUSE | ACCOUNTS << ACCOUNT);
        self.last = due << FLAGS | kept | on_room | reason;
    }

    fn is_beside_a_pause(self) -> bool {
        self.last & BESIDE_A_PAUSE != 0
    }

    /// The job of that place is parked.
    fn has(&mut self, seq: i64) {
        if seq >= self.last_seq {
            self.last_seq = seq;
            self.last &= !IS_BACK;
        }
    }

    /// The job of that place is not parked.
    fn forget(&mut self, seq: i64) {
        if seq == self.last_seq {
            self.last |= IS_BACK;
        }
    }

    fn is_back(self) -> bool {
        self.last & IS_BACK != 0
    }
}

/// Where a number's line of slots ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineEnd {
    due: Tick,
    last_seq: i64,
}

/// What some tails need besides.
#[derive(Debug, Default)]
struct More {
    /// Jobs that had come back and were parked again, or were held, by their place. Those behind them may
    /// be on their way, and must not go first.
    again: BTreeMap<i64, Place>,
    /// Those that were told to park, and of which Postgres has not said whether they are.
    told: Vec<i64>,
}

impl More {
    fn is_empty(&self) -> bool {
        self.again.is_empty() && self.told.is_empty()
    }

    /// True where it was told to park, and nothing has been said of it since.
    fn settle(&mut self, seq: i64) -> bool {
        let before = self.told.len();
        self.told.retain(|told| *told != seq);
        self.told.len() < before
    }
}

/// What is known of the jobs of a number that a former owner has parked.
#[derive(Clone, Copy, Debug)]
struct FormerOwner {
    key: Key,
    /// The next place before the first of them.
    next_place: i64,
    /// When the last of them was published, in Unix microseconds; [`i64::MIN`] where that is not known.
    published: i64,
}

/// Room for so many places before the first parked job: microseconds in the order of arrival.
const PLACES: i64 = 1_000_000;

/// A number and a priority.
type Key = u64;

fn key(mobile: Mobile, priority: Priority) -> Key {
    mobile.as_u64() << 2 | priority.index() as u64
}

/// Parts of the map: each grows and is swept by itself, so neither takes long, nor half as much memory again.
const SHARDS: usize = 64;

type Shard = HashMap<Key, Tail, foldhash::fast::FixedState>;

/// The tails of all numbers with parked jobs.
pub(super) struct Tails {
    shards: Vec<Shard>,
    more: HashMap<Key, More, foldhash::fast::FixedState>,
    /// By key, once `is_sorted`.
    former: Vec<FormerOwner>,
    is_sorted: bool,
    sweep_next: usize,
    backlogs: Backlogs,
}

/// Which accounts are paused or have a backlog, and since when the others are through with theirs.
#[derive(Debug, Default)]
struct Backlogs {
    of_all: Waits,
    /// The same of the backlogs alone that pauses have left: a later one does not renew them.
    of_pauses: Waits,
}

#[derive(Debug, Default)]
struct Waits {
    waited_for: HashSet<usize>,
    through: HashMap<usize, Tick>,
}

impl Waits {
    fn begin(&mut self, account: usize) {
        self.waited_for.insert(account);
    }

    fn end(&mut self, account: usize, now: Tick) {
        if self.waited_for.remove(&account) {
            self.through.insert(account, now);
        }
    }

    /// Since when nobody waits for the account, or for any where it is not known.
    fn through_since(&self, account: Option<usize>) -> Option<Tick> {
        match account {
            Some(account) if self.waited_for.contains(&account) => None,
            Some(account) => Some(self.through.get(&account).copied().unwrap_or_default()),
            None if self.waited_for.is_empty() => Some(self.through.values().copied().max().unwrap_or_default()),
            None => None,
        }
    }
}

impl Backlogs {
    /// Until when a place may be waited for. What waits for room comes back before its account is through with its
    /// backlog, or never: it has expired, or was cancelled.
    fn until(&self, place: &Place) -> Tick {
        match self.of_all.through_since(place.account) {
            Some(at) if place.is_paused() => GRACE + place.due.min(at),
            None if place.on_room && !place.is_paused() => DAY + place.due,
            _ => GRACE + place.due,
        }
    }

    /// Whom a newcomer must go behind, if the tail is still waited for.
    fn to_follow(&self, tail: Tail, now: Tick) -> Option<Place> {
        let last = tail.last();
        if self.holds_beside(tail, now) && last.due <= now {
            // Where those are that wait for room, he goes behind them.
            return Some(Place { on_room: true, reason: WaitReason::RateLimited, ..last });
        }
        Some(last).filter(|last| now < self.until(last))
    }

    /// A pause, or the backlog that it has left, has some of this line.
    fn are_beside(&self, tail: Tail) -> bool {
        tail.is_beside_a_pause() && self.of_pauses.through_since(tail.last().account).is_none()
    }

    /// The same, or they may still be on their way.
    fn holds_beside(&self, tail: Tail, now: Tick) -> bool {
        let last = tail.last();
        let until = self.of_pauses.through_since(last.account).map_or(last.due + DAY, |at| at + GRACE);
        tail.is_beside_a_pause() && now < until
    }
}

impl Default for Tails {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Tails {
            shards,
            more: HashMap::default(),
            former: Vec::new(),
            is_sorted: true,
            sweep_next: 0,
            backlogs: Backlogs::default(),
        }
    }
}

impl Tails {
    fn shard(&mut self, key: Key) -> &mut Shard {
        &mut self.shards[shard_of(key)]
    }

    fn tail(&self, key: Key) -> Option<Tail> {
        self.shards[shard_of(key)].get(&key).copied()
    }

    /// The parked job that `request`, which has come back from `own`, must go behind, if there is one.
    pub fn to_follow(&self, request: &Request, own: Option<Place>, now: Tick) -> Option<Place> {
        let key = key(request.mobile, request.priority);
        if request.standing == Standing::New {
            let last = self.tail(key).and_then(|tail| self.backlogs.to_follow(tail, now));
            if last.is_some() {
                return last;
            }
        }
        let before = self.more.get(&key)?.again.range(..request.seq).rev().map(|(_, again)| again);
        let holds = |again: &&Place| {
            now < self.backlogs.until(again)
                && !again.is_paused_elsewhere(request.account)
                && !own.is_some_and(|own| own.is_let_out_after(again))
        };
        before.into_iter().find(holds).copied()
    }

    /// The last slot that is still to come of the newcomer's number, if one is.
    pub fn slot_to_follow(&self, request: &Request, now: Tick) -> Option<Tick> {
        let last = self.tail(key(request.mobile, request.priority))?.last();
        // A window may open sooner, or a rule be lifted: a slot alone comes at its time.
        let is_slot = !last.on_room && last.reason == WaitReason::RateLimited;
        (request.standing == Standing::New && is_slot && now < last.due).then_some(last.due)
    }

    /// The end of a number's line of slots, where that is still to come and Postgres has all that stands in it.
    pub fn end_of_line(&self, mobile: Mobile, priority: Priority, now: Tick) -> Option<LineEnd> {
        let key = key(mobile, priority);
        let (tail, told) = (self.tail(key)?, self.more.get(&key).is_some_and(|more| !more.told.is_empty()));
        let last = tail.last();
        let is_slot = !last.on_room && last.reason == WaitReason::RateLimited;
        (is_slot && !told && now < last.due).then_some(LineEnd { due: last.due, last_seq: tail.last_seq })
    }

    /// Of the line with this end, the jobs behind `last` were cancelled. If it has another end by now, nothing changes.
    pub fn shorten(&mut self, mobile: Mobile, priority: Priority, end: LineEnd, last: Tick, now: Tick) {
        let key = key(mobile, priority);
        if self.end_of_line(mobile, priority, now) == Some(end)
            && last < end.due
            && let Some(tail) = self.shard(key).get_mut(&key)
        {
            tail.set_last(Place { due: last, ..tail.last() });
        }
    }

    /// An account is paused, or has a backlog.
    pub fn account_is_waited_for(&mut self, account: usize) {
        self.backlogs.of_all.begin(account);
    }

    /// An account is paused, or has the backlog that a pause has left.
    pub fn account_was_paused(&mut self, account: usize) {
        self.backlogs.of_pauses.begin(account);
        self.backlogs.of_all.begin(account);
    }

    /// An account is none of that any more.
    pub fn account_is_through(&mut self, account: usize, now: Tick) {
        self.backlogs.of_pauses.end(account, now);
        self.backlogs.of_all.end(account, now);
    }

    /// `request` is told to park at `place`. Then comes [`Tails::stored`], or [`Tails::returned`].
    pub fn parked(&mut self, request: &Request, place: Place, now: Tick) {
        let Request { mobile, priority, seq, standing, .. } = *request;
        let key = key(mobile, priority);
        // One that will expire before its turn takes no slot from those behind it.
        let goes = place.on_room || request.expires.is_none_or(|at| place.due < at);
        let first = if goes { place } else { Place { due: Tick::ZERO, ..place } };
        let tail = self.shard(key).entry(key).or_insert_with(|| Tail::at(first));
        tail.join(place.account);
        let last = tail.last();
        if last.is_paused() != place.is_paused() {
            tail.last |= BESIDE_A_PAUSE;
        }
        match (last.is_paused(), place.is_paused()) {
            // Nobody knows how long a pause takes; a slot is known, and newcomers go behind that. One that has come
            // back goes before some of those that the pause has parked.
            (true, false) if goes && standing == Standing::New => tail.set_last(place),
            (false, true) if now < last.due + GRACE => {}
            _ if goes && (standing == Standing::New || place.due >= last.due) => {
                tail.set_last(Place { due: last.due.max(place.due), ..place });
            }
            _ => {}
        }
        let last_seq = tail.last_seq;
        let more = self.more.entry(key).or_default();
        // One that had waited in memory, when its account paused or its number's window was full, stands before
        // others that were parked behind it long ago, and that come back first.
        let stands_before = last_seq > seq || more.told.iter().any(|told| *told > seq);
        if standing != Standing::New || place.reason == WaitReason::NumberLimit || stands_before {
            more.again.insert(seq, place);
        }
        more.told.push(seq);
    }

    /// Jobs that were parked before this process took over. A number may have several lines of them,
    /// each for another reason: they make one tail.
    pub fn restore(&mut self, mobile: Mobile, priority: Priority, former: Former, now: Tick) {
        let Former { account, due, on_room, reason, first_seq, last_seq, published } = former;
        let place = Place { due: due.unwrap_or(now + DAY), on_room, reason, account };
        if let Some(account) = account.filter(|_| place.is_paused()) {
            self.account_was_paused(account);
        }
        let key = key(mobile, priority);
        let tail = self.shard(key).entry(key).or_insert_with(|| Tail::at(place));
        tail.join(account);
        tail.has(last_seq);
        let last = tail.last();
        if last.is_paused() != place.is_paused() {
            tail.last |= BESIDE_A_PAUSE;
        }
        let is_later = match (last.is_paused(), place.is_paused()) {
            (true, false) => now < place.due + GRACE,
            (false, true) => last.due + GRACE <= now,
            _ => last.due <= place.due,
        };
        if is_later {
            tail.set_last(place);
        }
        if reason == WaitReason::NumberLimit {
            self.more.entry(key).or_default().again.insert(first_seq, place);
        }
        let published = published.map_or(i64::MIN, |at| at.timestamp_micros());
        self.former.push(FormerOwner { key, next_place: first_seq - PLACES, published });
        self.is_sorted = false;
    }

    /// See [`super::Pacer::place`].
    pub fn place(&mut self, mobile: Mobile, priority: Priority, published: Option<Timestamp>) -> Option<i64> {
        let key = key(mobile, priority);
        self.tail(key)?;
        self.sort_former();
        let index = self.former.binary_search_by_key(&key, |owner| owner.key).ok()?;
        let owner = &mut self.former[index];
        let later = |this: Timestamp| owner.published != i64::MIN && this.timestamp_micros() > owner.published;
        if published.is_some_and(later) {
            return None;
        }
        owner.next_place += 1;
        Some(owner.next_place - 1)
    }

    /// One entry for each number and priority, in order.
    fn sort_former(&mut self) {
        if std::mem::replace(&mut self.is_sorted, true) {
            return;
        }
        self.former.sort_unstable_by_key(|owner| owner.key);
        self.former.dedup_by(|line, owner| {
            let same = line.key == owner.key;
            if same {
                owner.next_place = owner.next_place.min(line.next_place);
                owner.published = owner.published.max(line.published);
            }
            same
        });
        self.former.shrink_to_fit();
    }

    /// Postgres has parked a job that was told to.
    pub fn stored(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        let key = key(mobile, priority);
        // It may have come back already, while the answer was on its way.
        if self.settle(key, |more| more.settle(seq)) == Some(true)
            && let Some(tail) = self.shard(key).get_mut(&key)
        {
            tail.has(seq);
        }
    }

    /// A job has come back from Postgres, or was not parked there after all, because it was the copy of
    /// another; where it was, if it was parked again. Saying so twice changes nothing. Of jobs that were
    /// cancelled or have expired nobody says so: the next newcomer that goes behind them makes it good.
    pub fn returned(&mut self, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        let key = key(mobile, priority);
        let tail = self.shard(key).get_mut(&key)?;
        tail.forget(seq);
        let tail = *tail;
        let is_over = tail.is_back() && !self.backlogs.are_beside(tail);
        let place = self.settle(key, |more| {
            more.settle(seq);
            more.again.remove(&seq)
        });
        if is_over && !self.more.contains_key(&key) {
            self.shard(key).remove(&key);
        }
        place.flatten()
    }

    /// Does something with what there is more of a tail, which goes when nothing of it is left.
    fn settle<T>(&mut self, key: Key, action: impl FnOnce(&mut More) -> T) -> Option<T> {
        let more = self.more.get_mut(&key)?;
        let result = action(more);
        if more.is_empty() {
            self.more.remove(&key);
        }
        Some(result)
    }

    /// Forgets what nothing will come back from, one part of the map each time.
    pub fn sweep(&mut self, now: Tick) {
        let shard = &mut self.shards[self.sweep_next];
        self.sweep_next = (self.sweep_next + 1) % SHARDS;
        let (more, backlogs) = (&mut self.more, &self.backlogs);
        shard.retain(|key, tail| {
            let stays = backlogs.holds_beside(*tail, now) || now < backlogs.until(&tail.last());
            if !stays {
                more.remove(key);
            }
            stays
        });
        if shard.capacity() > 64 && shard.capacity() / 4 > shard.len() {
            shard.shrink_to_fit();
        }
        if self.sweep_next == 0 && self.shards.iter().all(Shard::is_empty) {
            self.former = Vec::new();
        }
    }

    /// Numbers and priorities that are waited for.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }
}

/// The last digits of a number are well spread.
fn shard_of(key: Key) -> usize {
    ((key >> 2) % SHARDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: Priority = Priority::Normal;

    fn mobile() -> Mobile {
        Mobile::parse("13800000001").unwrap()
    }

    fn request(seq: i64, standing: Standing) -> Request {
        let (mobile, priority) = (mobile(), NORMAL);
        Request { ticket: 0, mobile, account: 0, priority, seq, standing, expires: None, quiet: None, keep: false }
    }

    fn on_room() -> Place {
        Place { due: Tick::ZERO, on_room: true, reason: WaitReason::RateLimited, account: Some(0) }
    }

    /// What a former owner parked, from this place to that.
    fn restored(first_seq: i64, last_seq: i64) -> Tails {
        let mut tails = Tails::default();
        let Place { due, on_room, reason, .. } = on_room();
        let former = Former { account: None, due: Some(due), on_room, reason, first_seq, last_seq, published: None };
        tails.restore(mobile(), NORMAL, former, Tick::ZERO);
        tails
    }

    /// Is told to park, and is.
    fn parks(tails: &mut Tails, seq: i64, standing: Standing, place: Place) {
        tails.parked(&request(seq, standing), place, Tick::ZERO);
        tails.stored(mobile(), NORMAL, seq);
    }

    fn returns(tails: &mut Tails, seq: i64) -> Option<Place> {
        tails.returned(mobile(), NORMAL, seq)
    }

    /// Would it wait behind another?
    fn follows(tails: &Tails, seq: i64, standing: Standing, own: Option<Place>) -> bool {
        tails.to_follow(&request(seq, standing), own, Tick::ZERO).is_some()
    }

    #[test]
    fn a_copy_that_was_parked_for_nothing_stands_before_nobody() {
        let mut tails = restored(PLACES, PLACES);
        // Its message, which the former owner could not acknowledge.
        let copy = request(tails.place(mobile(), NORMAL, None).unwrap(), Standing::Before);
        tails.parked(&copy, on_room(), Tick::ZERO);
        assert!(follows(&tails, PLACES, Standing::Released, None));
        returns(&mut tails, copy.seq);
        assert!(!follows(&tails, PLACES, Standing::Released, None));
        returns(&mut tails, PLACES);
        assert_eq!(tails.len(), 0);
    }

    #[test]
    fn only_the_last_ones_return_ends_a_tail() {
        let mut tails = restored(PLACES, PLACES + 1);
        let newcomer = |tails: &Tails| follows(tails, PLACES + 9, Standing::New, None);
        // Twice, for a job may be released twice; and one that was never counted, such as a scheduled one.
        for seq in [PLACES, PLACES, PLACES - 5, PLACES + 5] {
            returns(&mut tails, seq);
            assert!(newcomer(&tails), "the other one is still parked");
        }
        // A second copy is parked for nothing.
        tails.parked(&request(PLACES, Standing::Released), on_room(), Tick::ZERO);
        returns(&mut tails, PLACES);
        assert!(newcomer(&tails));
        returns(&mut tails, PLACES + 1);
        assert!(tails.len() == 0 && !newcomer(&tails));
    }

    #[test]
    fn a_job_that_is_parked_again_is_waited_for_again() {
        let mut tails = restored(PLACES, PLACES + 1);
        returns(&mut tails, PLACES);
        parks(&mut tails, PLACES, Standing::Released, on_room());
        returns(&mut tails, PLACES + 1);
        assert!(follows(&tails, PLACES + 9, Standing::New, None), "the first is still parked");
        returns(&mut tails, PLACES);
        assert_eq!(tails.len(), 0);
    }

    #[test]
    fn who_is_let_out_waits_for_nobody_who_is_gone() {
        // Its turn is hours away, and it has expired meanwhile.
        let far = Tick::from_secs(10_000);
        let slot = Place { due: far, on_room: false, ..on_room() };
        for (gone, own) in [(Place { due: far, ..on_room() }, on_room()), (slot, Place { due: 2 * far, ..slot })] {
            let mut tails = Tails::default();
            parks(&mut tails, 1, Standing::Released, gone);
            assert!(follows(&tails, 2, Standing::Released, None), "it may be on its way");
            parks(&mut tails, 2, Standing::Released, own);
            let own = returns(&mut tails, 2);
            assert!(own.is_some() && !follows(&tails, 2, Standing::Released, own), "the other went first: {own:?}");
        }
    }

    #[test]
    fn of_two_lines_nobody_knows_which_went_first() {
        let mut tails = Tails::default();
        let slot = Place { due: Tick::from_secs(5), on_room: false, ..on_room() };
        parks(&mut tails, 1, Standing::Released, slot);
        let earlier = Place { due: Tick::from_secs(4), ..slot };
        let another = Place { account: Some(1), ..on_room() };
        for own in [on_room(), earlier] {
            assert!(follows(&tails, 2, Standing::Released, Some(own)));
        }
        parks(&mut tails, 1, Standing::Released, on_room());
        assert!(follows(&tails, 2, Standing::Released, Some(another)), "another account's room says nothing");
    }

    #[test]
    fn a_newcomer_behind_one_that_is_gone_ends_the_tail() {
        let mut tails = restored(PLACES, PLACES);
        assert!(follows(&tails, PLACES + 1, Standing::New, None));
        parks(&mut tails, PLACES + 1, Standing::New, on_room());
        returns(&mut tails, PLACES + 1);
        assert_eq!(tails.len(), 0);
    }

    #[test]
    fn a_repeat_that_is_told_to_park_ends_nothing() {
        let mut tails = Tails::default();
        parks(&mut tails, 1, Standing::New, on_room());
        for repeat in [2, 3] {
            tails.parked(&request(repeat, Standing::New), on_room(), Tick::ZERO);
        }
        for repeat in [2, 3] {
            returns(&mut tails, repeat);
            assert!(follows(&tails, 4, Standing::New, None), "the first is still parked");
        }
        returns(&mut tails, 1);
        assert_eq!(tails.len(), 0);
    }

    #[test]
    fn an_answer_that_comes_after_its_job_is_late() {
        let mut tails = Tails::default();
        tails.parked(&request(1, Standing::New), on_room(), Tick::ZERO);
        assert!(follows(&tails, 2, Standing::New, None), "it is about to be parked");
        returns(&mut tails, 1);
        tails.stored(mobile(), NORMAL, 1);
        assert_eq!(tails.len(), 0);
    }
}
