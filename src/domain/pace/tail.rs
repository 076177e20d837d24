//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::bucket::Tick;
use super::{Former, Request, Standing};
use crate::domain::job::{Priority, Timestamp};
use crate::domain::mobile::Mobile;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
const GRACE: Duration = Duration::from_secs(60);

/// Where the last parked job of a number stands.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Its slot.
    due: Tick,
    /// It waits for room, not for the slot.
    on_room: bool,
    /// Jobs that are parked or on their way back.
    jobs: u32,
    /// Jobs that had come back and were parked again, by their place. Those behind them may be on
    /// their way, and must not go first.
    again: BTreeMap<i64, Again>,
    former: Option<FormerOwner>,
}

#[derive(Clone, Copy, Debug)]
struct Again {
    due: Tick,
    on_room: bool,
}

/// What is known of the jobs that a former owner has parked.
#[derive(Clone, Copy, Debug)]
struct FormerOwner {
    /// The next place before the first of them.
    next_place: i64,
    /// When the last of them was published.
    published: Option<Timestamp>,
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
    /// The slot of the parked job that `request` must go behind, if there is one, and whether that one
    /// waits for room instead.
    pub fn to_follow(&self, request: &Request, now: Tick) -> Option<(Tick, bool)> {
        let tail = self.tails.get(&(request.mobile.as_u64(), request.priority))?;
        if request.standing == Standing::New {
            return (tail.jobs > 0 && now < tail.due + GRACE).then_some((tail.due, tail.on_room));
        }
        let before = tail.again.range(..request.seq).rev().map(|(_, again)| again);
        before.into_iter().find(|again| now < again.due + GRACE).map(|again| (again.due, again.on_room))
    }

    /// `request` is parked at `due`.
    pub fn parked(&mut self, request: &Request, due: Tick, on_room: bool) {
        let tail = self.tails.entry((request.mobile.as_u64(), request.priority)).or_default();
        tail.jobs += 1;
        if request.standing != Standing::New {
            tail.again.insert(request.seq, Again { due, on_room });
        }
        if request.standing == Standing::New || due >= tail.due {
            tail.due = tail.due.max(due);
            tail.on_room = on_room;
        }
    }

    /// Jobs that were parked before this process took over.
    pub fn restore(&mut self, mobile: Mobile, priority: Priority, former: Former) {
        let owner = FormerOwner { next_place: former.first_seq - PLACES, published: former.published };
        let Former { due, on_room, jobs, .. } = former;
        let tail = Tail { due, on_room, jobs, again: BTreeMap::new(), former: Some(owner) };
        self.tails.insert((mobile.as_u64(), priority), tail);
    }

    /// See [`super::Pacer::place`].
    pub fn place(&mut self, mobile: Mobile, priority: Priority, published: Option<Timestamp>) -> Option<i64> {
        let owner = self.tails.get_mut(&(mobile.as_u64(), priority))?.former.as_mut()?;
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
        tail.again.remove(&seq);
        if tail.jobs == 0 {
            self.tails.remove(&key);
        }
    }

    /// Forgets what nothing will come back from. A full pass each minute.
    pub fn sweep(&mut self, now: Tick) {
        if now >= self.sweep_at {
            self.sweep_at = now + GRACE;
            self.tails.retain(|_, tail| now < tail.due + GRACE);
        }
    }
}
