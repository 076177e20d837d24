//! Which numbers have jobs parked for a limiter, and where the last of them stands: a newcomer of
//! the same number and priority goes behind it.

use std::collections::HashMap;
use std::time::Duration;

use super::Request;
use super::bucket::Tick;
use crate::domain::job::Priority;
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
}

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
        if request.released {
            let again = tail.again.filter(|again| request.seq > again.seq && now < again.due + GRACE)?;
            return Some(Tail { due: again.due, on_room: again.on_room, ..*tail });
        }
        (tail.jobs > 0 && now < tail.due + GRACE).then_some(*tail)
    }

    /// `request` is parked at `due`.
    pub fn parked(&mut self, request: &Request, due: Tick, on_room: bool) {
        let tail = self.tails.entry((request.mobile.as_u64(), request.priority)).or_default();
        tail.jobs += 1;
        if request.released {
            tail.again = Some(Again { seq: request.seq, due, on_room });
        }
        if !request.released || due >= tail.due {
            tail.due = tail.due.max(due);
            tail.on_room = on_room;
        }
    }

    /// Jobs that were parked before this process took over.
    pub fn restore(&mut self, mobile: Mobile, priority: Priority, due: Tick, on_room: bool, jobs: u32) {
        self.tails.insert((mobile.as_u64(), priority), Tail { due, on_room, jobs, again: None });
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
