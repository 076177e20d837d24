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
}

impl Place {
    /// Where `park` puts a job.
    pub fn of(park: Park, now: Tick) -> Place {
        Place { due: park.due.unwrap_or(now), on_room: park.on_room, reason: park.reason }
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
    /// The parked job that `request` must go behind, if there is one.
    pub fn to_follow(&self, request: &Request, now: Tick) -> Option<Place> {
        let tail = self.tails.get(&(request.mobile.as_u64(), request.priority))?;
        if request.standing == Standing::New {
            return (tail.jobs > 0 && now < tail.last.due + GRACE).then_some(tail.last);
        }
        let before = tail.more.as_ref()?.again.range(..request.seq).rev().map(|(_, again)| again);
        before.into_iter().find(|again| now < again.due + GRACE).copied()
    }

    /// `request` is parked at `place`.
    pub fn parked(&mut self, request: &Request, place: Place) {
        let key = (request.mobile.as_u64(), request.priority);
        let tail = self.tails.entry(key).or_insert_with(|| Tail::at(place));
        tail.jobs += 1;
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
        let place = Place { due, on_room, reason };
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

    /// A parked job has come back.
    pub fn returned(&mut self, mobile: Mobile, priority: Priority, seq: i64) {
        let key = (mobile.as_u64(), priority);
        let Some(tail) = self.tails.get_mut(&key) else { return };
        tail.jobs = tail.jobs.saturating_sub(1);
        if let Some(more) = &mut tail.more {
            more.again.remove(&seq);
        }
        if tail.jobs == 0 {
            self.tails.remove(&key);
        }
    }

    /// Forgets what nothing will come back from. A full pass each minute.
    pub fn sweep(&mut self, now: Tick) {
        if now >= self.sweep_at {
            self.sweep_at = now + GRACE;
            self.tails.retain(|_, tail| now < tail.last.due + GRACE);
        }
    }
}
