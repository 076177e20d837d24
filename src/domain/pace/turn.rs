//! What the pacer is asked, and what it says.

use std::time::Duration;

use super::bucket::Tick;
use crate::domain::job::{Priority, Timestamp, WaitReason};
use crate::domain::mobile::Mobile;

/// Names a job in memory.
pub type Ticket = u64;

/// A job that asks for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its name here.
    pub ticket: Ticket,
    /// Its number.
    pub mobile: Mobile,
    /// The index of its account.
    pub account: usize,
    /// Its priority.
    pub priority: Priority,
    /// Its place in the order of arrival.
    pub seq: i64,
    /// Whether others of its number may stand before it.
    pub standing: Standing,
    /// It must not be submitted from then on.
    pub expires: Option<Tick>,
    /// The quiet hours of its priority, in which it came, end then.
    pub quiet: Option<Tick>,
    /// It must not wait in memory: its message has come again too often.
    pub keep: bool,
}

/// Where a job stands among the parked ones of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Just published: behind all of them.
    New,
    /// It was in the memory of a former owner, which parked others behind it: see [`super::Pacer::place`].
    Before,
    /// It was parked itself and has been released, in order.
    Released,
}

/// Jobs that a former owner has parked.
#[derive(Clone, Copy, Debug)]
pub struct Former {
    /// The index of their account; `None` where it is not configured.
    pub account: Option<usize>,
    /// The last slot; `None` while their account is paused.
    pub due: Option<Tick>,
    /// They wait for room, not for their slots.
    pub on_room: bool,
    /// What they wait for.
    pub reason: WaitReason,
    /// The place of the first in the order of arrival.
    pub first_seq: i64,
    /// The place of the last.
    pub last_seq: i64,
    /// When the last one was published.
    pub published: Option<Timestamp>,
}

/// What a job is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Claim and submit now.
    Go(Waited),
    /// Park in Postgres.
    Park(Park),
    /// Its expiry came while it waited.
    Expired,
}

/// How long a job waited at each limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waited {
    /// At its number's.
    pub mobile: Duration,
    /// At its account's.
    pub account: Duration,
}

/// How a job is parked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Park {
    /// `rate_limited`, `account_paused`, `number_limit` or `quiet_hours`.
    pub reason: WaitReason,
    /// Its slot; `None` while the account is paused.
    pub due: Option<Tick>,
    /// Released when its account has room, in order of arrival, instead of at its slot.
    pub on_room: bool,
}

/// Parked jobs that an account could take soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The index of the account.
    pub account: usize,
    /// Of this priority.
    pub priority: Priority,
    /// So many.
    pub jobs: usize,
}
