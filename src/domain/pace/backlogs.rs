//! How long a parked job may be waited for: until its account is through with its backlog, or a while after its slot.

use std::collections::{HashMap, HashSet};

use super::bucket::Tick;
use super::place::{DAY, GRACE, Place, Tail};
use crate::domain::job::WaitReason;

/// Which accounts are paused or have a backlog, and since when the others are through with theirs.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
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
    pub fn begin(&mut self, account: usize) {
        self.waited_for.insert(account);
    }

    pub fn end(&mut self, account: usize, now: Tick) {
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
    /// An account is paused, or has a backlog.
    pub fn account_is_waited_for(&mut self, account: usize) {
        self.of_all.begin(account);
    }

    /// An account is paused, or has the backlog that a pause has left.
    pub fn account_was_paused(&mut self, account: usize) {
        self.of_pauses.begin(account);
        self.of_all.begin(account);
    }

    /// An account is none of that any more.
    pub fn account_is_through(&mut self, account: usize, now: Tick) {
        self.of_pauses.end(account, now);
        self.of_all.end(account, now);
    }

    /// Until when a place may be waited for. What waits for room comes back before its account is through with its
    /// backlog, or never: it has expired, or was cancelled.
    pub fn until(&self, place: &Place) -> Tick {
        match self.of_all.through_since(place.account) {
            Some(at) if place.is_paused() => GRACE + place.due.min(at),
            None if place.on_room && !place.is_paused() => DAY + place.due,
            _ => GRACE + place.due,
        }
    }

    /// Whom a newcomer must go behind, if the tail is still waited for.
    pub fn to_follow(&self, tail: Tail, now: Tick) -> Option<Place> {
        let last = tail.last();
        if self.holds_beside(tail, now) && last.due <= now {
            // Where those are that wait for room, he goes behind them.
            return Some(Place { on_room: true, reason: WaitReason::RateLimited, ..last });
        }
        Some(last).filter(|last| now < self.until(last))
    }

    /// A pause, or the backlog that it has left, has some of this line.
    pub fn are_beside(&self, tail: Tail) -> bool {
        tail.is_beside_a_pause() && self.of_pauses.through_since(tail.last().account).is_none()
    }

    /// The same, or they may still be on their way.
    pub fn holds_beside(&self, tail: Tail, now: Tick) -> bool {
        let last = tail.last();
        let until = self.of_pauses.through_since(last.account).map_or(last.due + DAY, |at| at + GRACE);
        tail.is_beside_a_pause() && now < until
    }
}
