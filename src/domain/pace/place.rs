//! Where a parked job stands, and where the last one of a number does.

use std::time::Duration;

use super::bucket::Tick;
use super::{Park, Request};
use crate::domain::job::WaitReason;

/// A parked job that has not come back this long after its slot is not waited for any more: it was
/// cancelled or has expired.
pub(super) const GRACE: Duration = Duration::from_secs(60);
/// Nobody knows how long a pause takes, or a backlog. A job that waits for its end is waited for so long.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

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

    pub fn is_paused(&self) -> bool {
        self.reason == WaitReason::AccountPaused
    }

    /// It waits for a slot that comes at its time. A window may open sooner, or a rule be lifted.
    pub fn is_slot_to_come(&self, now: Tick) -> bool {
        !self.on_room && self.reason == WaitReason::RateLimited && now < self.due
    }

    /// It waits for an account that may not send, and that is not this one.
    pub fn is_paused_elsewhere(&self, account: usize) -> bool {
        self.is_paused() && self.account.is_some_and(|own| own != account)
    }

    /// Whoever was let out of this place has nobody at the other before it: of one room, and of slots, jobs
    /// are let out in order.
    pub fn is_let_out_after(&self, other: &Place) -> bool {
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
pub(super) struct Tail {
    /// The last of those that Postgres has parked, in the order of arrival.
    pub last_seq: i64,
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
    pub fn at(last: Place) -> Tail {
        let account = last.account.map_or(0, |account| account as u64 + 1);
        let known = if account <= ACCOUNTS { account } else { 0 };
        let mut tail = Tail { last_seq: i64::MIN, last: IS_BACK | known << ACCOUNT };
        tail.set_last(last);
        tail
    }

    pub fn last(self) -> Place {
        let account = (self.last >> ACCOUNT & ACCOUNTS) as usize;
        Place {
            due: Duration::from_micros(self.last >> FLAGS),
            on_room: self.last & ON_ROOM != 0,
            reason: WaitReason::ALL[(self.last & REASON) as usize],
            account: account.checked_sub(1),
        }
    }

    /// A job joins the line, at whatever place: it may be another account's, or beside a pause.
    pub fn join(&mut self, place: &Place) {
        let last = self.last();
        if last.account != place.account {
            self.last &= !(ACCOUNTS << ACCOUNT);
        }
        if last.is_paused() != place.is_paused() {
            self.last |= BESIDE_A_PAUSE;
        }
    }

    /// The last place, but not whose: see [`Tail::join`].
    pub fn set_last(&mut self, place: Place) {
        // As far as the bits go: a hundred years.
        let due = u64::try_from(place.due.as_micros()).unwrap_or(u64::MAX).min(u64::MAX >> FLAGS);
        let reason = WaitReason::ALL.iter().position(|reason| *reason == place.reason).unwrap_or_default() as u64;
        let on_room = if place.on_room { ON_ROOM } else { 0 };
        let kept = self.last & (IS_BACK | BESIDE_A_PAUSE | ACCOUNTS << ACCOUNT);
        self.last = due << FLAGS | kept | on_room | reason;
    }

    pub fn is_beside_a_pause(self) -> bool {
        self.last & BESIDE_A_PAUSE != 0
    }

    /// The job of that place is parked.
    pub fn has(&mut self, seq: i64) {
        if seq >= self.last_seq {
            self.last_seq = seq;
            self.last &= !IS_BACK;
        }
    }

    /// The job of that place is not parked.
    pub fn forget(&mut self, seq: i64) {
        if seq == self.last_seq {
            self.last |= IS_BACK;
        }
    }

    pub fn is_back(self) -> bool {
        self.last & IS_BACK != 0
    }
}
