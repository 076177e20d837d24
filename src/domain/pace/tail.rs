//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::bucket::Tick;
use super::{Former, Park, Request, Standing};
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
const GRACE: Duration = Duration::from_secs(60);

/// So many that came back last are remembered for each number: a job may be released twice, and its second
/// copy is not another one's return.
const COPIES: usize = 32;

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

    /// Both waited for the same room, which lets them out in order: who is let out has nobody before it.
    fn shares_room(&self, other: &Place) -> bool {
        self.on_room && other.on_room && self.account.is_some() && self.account == other.account
    }
}

/// Where the last parked job of a number stands. A backlog may have one for each of 200,000 numbers: what
/// few of them need is apart.
#[derive(Debug)]
struct Tail {
    last: Place,
    /// Jobs that are parked or on their way back.
    jobs: u32,
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// Jobs that had come back and were parked again, or were held, by their place. Those behind them may
    /// be on their way, and must not go first.
    again: BTreeMap<i64, Place>,
    /// Those that came back last.
    back: VecDeque<i64>,
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
    fn at(last: Place) -> Tail {
        Tail { last, jobs: 0, more: None }
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
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
            return (tail.jobs > 0 && now < tail.last.due + GRACE).then_some(tail.last);
        }
        let before = tail.more.as_ref()?.again.range(..request.seq).rev().map(|(_, again)| again);
        let holds = |again: &&Place| now < again.due + GRACE && !own.is_some_and(|own| own.shares_room(again));
        before.into_iter().find(holds).copied()
    }

    /// `request` is parked at `place`.
    pub fn parked(&mut self, request: &Request, place: Place) {
        let key = (request.mobile.as_u64(), request.priority);
        let tail = self.tails.entry(key).or_insert_with(|| Tail::at(place));
        tail.jobs += 1;
        if let Some(more) = &mut tail.more {
            more.back.retain(|seq| *seq != request.seq);
        }
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
        let Former { due, on_room, reason, jobs, first_seq, published } = former;
        let place = Place { due, on_room, reason, account: None };
        let tail = self.tails.entry((mobile.as_u64(), priority)).or_insert_with(|| Tail::at(place));
        tail.jobs += jobs;
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

    /// A parked job has come back; from where, if it was parked again.
    pub fn returned(&mut self, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        let tail = self.tails.get_mut(&(mobile.as_u64(), priority))?;
        let back = &mut tail.more().back;
        if back.contains(&seq) {
            return None;
        }
        if back.len() == COPIES {
            back.pop_front();
        }
        back.push_back(seq);
        self.one_less(mobile, priority, seq)
    }

    /// Postgres has not parked the job of that place: it was a copy of another.
    pub fn not_parked(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        self.one_less(mobile, priority, seq);
    }

    fn one_less(&mut self, mobile: Mobile, priority: Priority, seq: i64) -> Option<Place> {
        let key = (mobile.as_u64(), priority);
        let tail = self.tails.get_mut(&key)?;
        tail.jobs = tail.jobs.saturating_sub(1);
        let place = tail.more.as_mut().and_then(|more| more.again.remove(&seq));
        if tail.jobs == 0 {
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

    /// What a former owner parked: so many, the first at this place.
    fn restored(first_seq: i64, jobs: u32) -> Tails {
        let mut tails = Tails::default();
        let Place { due, on_room, reason, .. } = on_room();
        tails.restore(mobile(), NORMAL, Former { due, on_room, reason, jobs, first_seq, published: None });
        tails
    }

    #[test]
    fn a_copy_that_was_parked_for_nothing_stands_before_nobody() {
        let mut tails = restored(PLACES, 1);
        // Its message, which the former owner could not acknowledge.
        let copy = request(tails.place(mobile(), NORMAL, None).unwrap(), Standing::Before);
        tails.parked(&copy, on_room());
        let first = request(PLACES, Standing::Released);
        assert!(tails.to_follow(&first, None, Tick::ZERO).is_some());
        tails.not_parked(mobile(), NORMAL, copy.seq);
        assert!(tails.to_follow(&first, None, Tick::ZERO).is_none());
        tails.returned(mobile(), NORMAL, first.seq);
        assert!(tails.tails.is_empty());
    }

    #[test]
    fn the_second_copy_of_a_released_job_is_not_another_ones_return() {
        let mut tails = restored(PLACES, 2);
        tails.returned(mobile(), NORMAL, PLACES);
        tails.returned(mobile(), NORMAL, PLACES);
        let newcomer = request(PLACES + 2, Standing::New);
        assert!(tails.to_follow(&newcomer, None, Tick::ZERO).is_some(), "the other one is still parked");
        // The copy is parked for nothing.
        tails.parked(&request(PLACES, Standing::Released), on_room());
        tails.not_parked(mobile(), NORMAL, PLACES);
        assert!(tails.to_follow(&newcomer, None, Tick::ZERO).is_some());
        tails.returned(mobile(), NORMAL, PLACES + 1);
        assert!(tails.to_follow(&newcomer, None, Tick::ZERO).is_none());
    }

    #[test]
    fn a_job_that_is_parked_again_comes_back_again() {
        let mut tails = restored(PLACES, 1);
        tails.parked(&request(PLACES + 1, Standing::New), on_room());
        for _ in 0..3 {
            tails.returned(mobile(), NORMAL, PLACES);
            tails.parked(&request(PLACES, Standing::Released), on_room());
        }
        tails.returned(mobile(), NORMAL, PLACES);
        tails.returned(mobile(), NORMAL, PLACES + 1);
        assert!(tails.tails.is_empty());
    }

    #[test]
    fn who_is_let_out_of_a_room_waits_for_nobody_who_is_gone() {
        let mut tails = Tails::default();
        let (gone, next) = (request(1, Standing::Released), request(2, Standing::Released));
        // Its slot is hours away, and it has expired meanwhile.
        let far = Place { due: Tick::from_secs(10_000), ..on_room() };
        tails.parked(&gone, far);
        assert!(tails.to_follow(&next, None, Tick::ZERO).is_some(), "it may be on its way");
        tails.parked(&next, far);
        let own = tails.returned(mobile(), NORMAL, next.seq);
        assert!(tails.to_follow(&next, own, Tick::ZERO).is_none(), "the room would have let the other out first");
        let elsewhere = own.map(|own| Place { account: Some(1), ..own });
        assert!(tails.to_follow(&next, elsewhere, Tick::ZERO).is_some(), "another account's room says nothing");
    }
}
