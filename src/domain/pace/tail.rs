//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::HashMap;
use std::time::Duration;

use super::bucket::Tick;
use super::{Former, Request, Standing};
use crate::domain::job::{Priority, Timestamp};
use crate::domain::mobile::Mobile;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
const GRACE: Duration = Duration::from_secs(60);

/// Where the last parked job of a number stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tail {
    /// Its slot.
    pub due: Tick,
    /// It waits for room, not for the slot.
    pub on_room: bool,
    /// Jobs that are parked or on their way back.
    jobs: u32,
    /// The last job that had come back and was parked again. Those behind it may be on their way.
    again: Option<Again>,
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

/// Room for so many places before the first parked job: microseconds in the order of arrival.
const PLACES: i64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Again {
    seq: i64,
    due: Tick,
    on_room: bool,
}

/// The tails of all numbers with parked jobs.
#[derive(Default)]
pub(super) struct Tails {
    tails: HashMap<(u64, Priority), Tail, foldhash::fast::FixedState>,
    sweep_at: Tick,
}

impl Tails {
    /// The parked job that `request` must go behind, if there is one.
    pub fn to_follow(&self, request: &Request, now: Tick) -> Option<Tail> {
        let tail = self.tails.get(&(request.mobile.as_u64(), request.priority))?;
        if request.standing != Standing::New {
            let again = tail.again.filter(|again| request.seq > again.seq && now < again.due + GRACE)?;
            return Some(Tail { due: again.due, on_room: again.on_room, ..*tail });
        }
        (tail.jobs > 0 && now < tail.due + GRACE).then_some(*tail)
    }

    /// `request` is parked at `due`.
    pub fn parked(&mut self, request: &Request, due: Tick, on_room: bool) {
        let tail = self.tails.entry((request.mobile.as_u64(), request.priority)).or_default();
        tail.jobs += 1;
        if request.standing != Standing::New {
            tail.again = Some(Again { seq: request.seq, due, on_room });
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
        let tail = Tail { due, on_room, jobs, again: None, former: Some(owner) };
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
        tail.again = tail.again.filter(|again| again.seq != seq);
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
