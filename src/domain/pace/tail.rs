//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::bucket::Tick;
use super::{Former, Park, Request, Standing};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
const GRACE: Duration = Duration::from_secs(60);

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
    /// Where `park` puts a job of that account.
    pub fn of(park: Park, account: usize, now: Tick) -> Place {
        let Park { reason, due, on_room } = park;
        Place { due: due.unwrap_or(now), on_room, reason, account: Some(account) }
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

/// Where the last parked job of a number stands. A backlog may have one for each of 200,000 numbers: what
/// few of them need is apart.
#[derive(Debug)]
struct Tail {
    last: Place,
    /// The last of those that Postgres has parked, in the order of arrival.
    last_seq: i64,
    /// That one has come back, and so have all that were parked before it.
    is_back: bool,
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// Jobs that had come back and were parked again, or were held, by their place. Those behind them may
    /// be on their way, and must not go first.
    again: BTreeMap<i64, Place>,
    /// Those that were told to park, and of which Postgres has not said whether they are.
    told: Vec<i64>,
    former: Option<FormerOwner>,
}

/// What is known of the jobs that a former owner has parked.
#[derive(Clone, Copy, Debug)]
struct FormerOwner {
    /// The next place before the first of them.
    next_place: i64,
    /// When the last of them was published.
    published: Option<Timestamp>,
}

impl Tail {
    /// Nobody is parked yet.
    fn at(last: Place) -> Tail {
        Tail { last, last_seq: i64::MIN, is_back: true, more: None }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The job of that place is parked.
    fn has(&mut self, seq: i64) {
        if seq >= self.last_seq {
            (self.last_seq, self.is_back) = (seq, false);
        }
    }

    /// It was told to park. False where that is settled already.
    fn is_told(&mut self, seq: i64) -> bool {
        let Some(more) = &mut self.more else { return false };
        let before = more.told.len();
        more.told.retain(|told| *told != seq);
        let was_told = more.told.len() < before;
        if more.told.is_empty() && more.again.is_empty() && more.former.is_none() {
            self.more = None;
        }
        was_told
    }

    /// The job of that place is not parked; where it was, if it was parked again.
    fn forget(&mut self, seq: i64) -> Option<Place> {
        self.is_back |= seq == self.last_seq;
        let place = self.more.as_mut().and_then(|more| more.again.remove(&seq));
        self.is_told(seq);
        place
    }

    /// Nobody is waited for.
    fn is_over(&self) -> bool {
        self.is_back && self.more.as_ref().is_none_or(|more| more.again.is_empty() && more.told.is_empty())
    }
}

/// Room for so many places before the first parked job: microseconds in the order of arrival.
const PLACES: i64 = 1_000_000;

/// The tails of all numbers with parked jobs.
#[derive(Default)]
pub(super) struct Tails {
    tails: HashMap<(u64, Priority), Tail, foldhash::fast::FixedState>,
    sweep_at: Tick,
}

impl Tails {
    /// The parked job that `request`, which has come back from `own`, must go behind, if there is one.
    pub fn to_follow(&self, request: &Request, own: Option<Place>, now: Tick) -> Option<Place> {
        let tail = self.tails.get(&(request.mobile.as_u64(), request.priority))?;
        if request.standing == Standing::New {
            return (now < tail.last.due + GRACE).then_some(tail.last);
        }
        let before = tail.more.as_ref()?.again.range(..request.seq).rev().map(|(_, again)| again);
        let holds = |again: &&Place| now < again.due + GRACE && !own.is_some_and(|own| own.is_let_out_after(again));
        before.into_iter().find(holds).copied()
    }

    /// `request` is told to park at `place`. Then comes [`Tails::stored`], or [`Tails::returned`].
    pub fn parked(&mut self, request: &Request, place: Place) {
        let key = (request.mobile.as_u64(), request.priority);
        let tail = self.tails.entry(key).or_insert_with(|| Tail::at(place));
        tail.more().told.push(request.seq);
        // One that had waited in memory when its number's window was full stands before others that
        // were parked behind it long ago, and that come back first.
        if request.standing != Standing::New || place.reason == WaitReason::NumberLimit {
            tail.more().again.insert(request.seq, place);
        }
        if request.standing == Standing::New || place.due >= tail.last.due {
            tail.last = Place { due: tail.last.due.max(place.due), ..place };
        }
    }

    /// Jobs that were parked before this process took over. A number may have several lines of them,
    /// each for another reason: they make one tail.
    pub fn restore(&mut self, mobile: Mobile, priority: Priority, former: Former) {
        let Former { due, on_room, reason, first_seq, last_seq, published } = former;
        let place = Place { due, on_room, reason, account: None };
        let tail = self.tails.entry((mobile.as_u64(), priority)).or_insert_with(|| Tail::at(place));
        tail.has(last_seq);
        if due >= tail.last.due {
            tail.last = place;
        }
        if reason == WaitReason::NumberLimit {
            tail.more().again.insert(first_seq, place);
        }
        let next_place = first_seq - PLACES;
        let owner = tail.more().former.get_or_insert(FormerOwner { next_place, published });
        owner.next_place = owner.next_place.min(next_place);
        owner.published = owner.published.max(published);
    }

    /// See [`super::Pacer::place`].
    pub fn place(&mut self, mobile: Mobile, priority: Priority, published: Option<Timestamp>) -> Option<i64> {
        let owner = self.tails.get_mut(&(mobile.as_u64(), priority))?.more.as_mut()?.former.as_mut()?;
        if published.zip(owner.published).is_some_and(|(this, last)| this > last) {
            return None;
        }
        owner.next_place += 1;
        Some(owner.next_place - 1)
    }

    /// Postgres has parked a job that was told to.
    pub fn stored(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        let Some(tail) = self.tails.get_mut(&(mobile.as_u64(), priority)) else { return };
        // It may have come back already, while the answer was on its way.
        if tail.is_told(seq) {
            tail.has(seq);
        }
    }

    /// A job has come back from Postgres, or was not parked there after all, because it was the copy of
    /// another; where it was, if it was parked again. Saying so twice changes nothing. Of jobs that were
    /// cancelled or have expired nobody says so: the next newcomer that goes behind them makes it good.
    pub fn returned(&mut self, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        let key = (mobile.as_u64(), priority);
        let tail = self.tails.get_mut(&key)?;
        let place = tail.forget(seq);
        if tail.is_over() {
            self.tails.remove(&key);
        }
        place
    }

    /// Forgets what nothing will come back from. A full pass each minute.
    pub fn sweep(&mut self, now: Tick) {
        if now >= self.sweep_at {
            self.sweep_at = now + GRACE;
            self.tails.retain(|_, tail| now < tail.last.due + GRACE);
        }
    }
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
        tails.restore(mobile(), NORMAL, Former { due, on_room, reason, first_seq, last_seq, published: None });
        tails
    }

    /// Is told to park, and is.
    fn parks(tails: &mut Tails, seq: i64, standing: Standing, place: Place) {
        tails.parked(&request(seq, standing), place);
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
        tails.parked(&copy, on_room());
        assert!(follows(&tails, PLACES, Standing::Released, None));
        returns(&mut tails, copy.seq);
        assert!(!follows(&tails, PLACES, Standing::Released, None));
        returns(&mut tails, PLACES);
        assert!(tails.tails.is_empty());
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
        tails.parked(&request(PLACES, Standing::Released), on_room());
        returns(&mut tails, PLACES);
        assert!(newcomer(&tails));
        returns(&mut tails, PLACES + 1);
        assert!(tails.tails.is_empty() && !newcomer(&tails));
    }

    #[test]
    fn a_job_that_is_parked_again_is_waited_for_again() {
        let mut tails = restored(PLACES, PLACES + 1);
        returns(&mut tails, PLACES);
        parks(&mut tails, PLACES, Standing::Released, on_room());
        returns(&mut tails, PLACES + 1);
        assert!(follows(&tails, PLACES + 9, Standing::New, None), "the first is still parked");
        returns(&mut tails, PLACES);
        assert!(tails.tails.is_empty());
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
        assert!(tails.tails.is_empty());
    }

    #[test]
    fn a_repeat_that_is_told_to_park_ends_nothing() {
        let mut tails = Tails::default();
        parks(&mut tails, 1, Standing::New, on_room());
        for repeat in [2, 3] {
            tails.parked(&request(repeat, Standing::New), on_room());
        }
        for repeat in [2, 3] {
            returns(&mut tails, repeat);
            assert!(follows(&tails, 4, Standing::New, None), "the first is still parked");
        }
        returns(&mut tails, 1);
        assert!(tails.tails.is_empty());
    }

    #[test]
    fn an_answer_that_comes_after_its_job_is_late() {
        let mut tails = Tails::default();
        tails.parked(&request(1, Standing::New), on_room());
        assert!(follows(&tails, 2, Standing::New, None), "it is about to be parked");
        returns(&mut tails, 1);
        tails.stored(mobile(), NORMAL, 1);
        assert!(tails.tails.is_empty());
    }
}
