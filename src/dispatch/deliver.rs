//! The path of one job: turn → admit → depart → submit → judge → decide → record → settle.
//!
//! Each step is committed before the next one relies on it, so a crash between any two lines leaves
//! the job where another process can take it up:
//!
//! - before the claim: the message is not acknowledged and comes again;
//! - between claim and record: the row is `submitting`; its claim runs out and it becomes `in_doubt`
//!   (or is resent, if the job says so), because the request may have left;
//! - between record and acknowledgement: the message comes again and is recognised.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::admit::Asked;
use super::attempt::Attempt;
use super::desk::Desk;
use super::pacer::Pace;
use super::ports::{Entry, Settle};
use super::trace::{self, Journey, Known};
use crate::domain::job::Job;
use crate::domain::pace::{Ticket, Turn};

/// A job on its way.
pub(super) struct Parcel {
    pub job: Arc<Job>,
    /// Names the job and its payload.
    pub key: [u8; 16],
    /// The account that sends it.
    pub account: usize,
    /// Its place in the order of arrival.
    pub seq: i64,
    /// Postgres has held it.
    pub released: bool,
    /// The broker has given its message out before.
    pub redelivered: bool,
    pub pace: Arc<Pace>,
    /// Its publisher's trace, where that is recorded.
    pub journey: Option<Journey>,
    /// The message as received, in case it is refused after all.
    pub body: Vec<u8>,
    pub delivery: Box<dyn Settle>,
}

/// How its way begins.
pub(super) enum Start {
    /// It waits for its turn at the limiters.
    Turn(Ticket, oneshot::Receiver<Turn>),
    /// It is stored without a turn.
    Known(Entry),
}

/// How its way ended.
#[derive(Debug)]
pub(super) enum Delivered {
    /// Its fate is committed: acknowledge.
    Settled,
    /// Postgres refuses it: give it back.
    Unsettled,
    /// The session or the process ends: leave it.
    Left,
}

impl Desk {
    /// The path of one job, traced where its publisher traces.
    pub(super) async fn deliver(&self, parcel: &Parcel, start: Start) -> Delivered {
        let delivered = self.carry(parcel, start).await;
        self.arrived(parcel, &delivered);
        delivered
    }

    /// The path of one job.
    async fn carry(&self, parcel: &Parcel, start: Start) -> Delivered {
        let step = self.step(parcel);
        let Some((entry, ticket)) = self.turn(parcel, start).await else { return Delivered::Left };
        self.stepped(step, trace::WAIT, Known::default());
        let (begun, step) = (Instant::now(), self.step(parcel));
        let asked = self.admit(parcel, entry).await;
        self.stepped(step, trace::CLAIM, Known { failed: asked.is_err(), ..Known::default() });
        match ticket {
            Some(ticket) => self.tell_pacer(parcel, ticket, asked.as_ref().unwrap_or(&Asked::Done)),
            None => self.settle_park(parcel, entry, asked.as_ref().ok()),
        }
        let claim = match asked {
            Ok(Asked::Claimed(claim)) => claim,
            Ok(Asked::Held(_) | Asked::Paused | Asked::Done | Asked::NotStored { .. }) => return Delivered::Settled,
            Err(_) => return Delivered::Unsettled,
        };
        let first = Attempt { parcel, claim, claimed: begun, ticket, resigned_before: false };
        let ended = self.attempts(first).await;
        if let Some(ticket) = ticket {
            parcel.pace.act(|pacer, now| pacer.settled(ticket, parcel.job.mobile, now));
        }
        match ended {
            Ok(()) => Delivered::Settled,
            Err(_) => Delivered::Unsettled,
        }
    }
}
