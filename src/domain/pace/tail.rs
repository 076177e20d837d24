//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::{BTreeMap, HashMap};

use super::backlogs::Backlogs;
use super::bucket::Tick;
use super::place::{DAY, GRACE, Place, Tail};
use super::{Former, Request, Standing};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

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
    pub backlogs: Backlogs,
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
        (request.standing == Standing::New && last.is_slot_to_come(now)).then_some(last.due)
    }

    /// The end of a number's line of slots, where that is still to come and Postgres has all that stands in it.
    pub fn end_of_line(&self, mobile: Mobile, priority: Priority, now: Tick) -> Option<LineEnd> {
        let key = key(mobile, priority);
        let (tail, told) = (self.tail(key)?, self.more.get(&key).is_some_and(|more| !more.told.is_empty()));
        let last = tail.last();
        (last.is_slot_to_come(now) && !told).then_some(LineEnd { due: last.due, last_seq: tail.last_seq })
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

    /// `request` is told to park at `place`. Then comes [`Tails::stored`], or [`Tails::returned`].
    pub fn parked(&mut self, request: &Request, place: Place, now: Tick) {
        let Request { mobile, priority, seq, standing, .. } = *request;
        let key = key(mobile, priority);
        // One that will expire before its turn takes no slot from those behind it.
        let goes = place.on_room || request.expires.is_none_or(|at| place.due < at);
        let first = if goes { place } else { Place { due: Tick::ZERO, ..place } };
        let tail = self.shard(key).entry(key).or_insert_with(|| Tail::at(first));
        tail.join(&place);
        let last = tail.last();
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
            self.backlogs.account_was_paused(account);
        }
        let key = key(mobile, priority);
        let tail = self.shard(key).entry(key).or_insert_with(|| Tail::at(place));
        tail.join(&place);
        tail.has(last_seq);
        let last = tail.last();
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
