//! Jobs that wait for room say why. When an account pauses or resumes, those that wait already are told, a page
//! at a time: 200,000 within a minute, beside everything else.
//!
//! By the duty that releases them, in turn with it: a statement that releases passes over the rows that another
//! one has locked, and the oldest would not go first.

use std::time::Duration;

use tokio::time::Instant;

use super::{BATCH, accounts};
use crate::dispatch::desk::Desk;
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::{LedgerError, RoomPlace};

/// A job may be parked with the old reason by a statement that began before the pause, and ends so much later.
const LATE: Duration = Duration::from_secs(10);

/// How far each account's jobs have been told.
#[derive(Default)]
pub(super) struct Reasons {
    of: Vec<Telling>,
}

struct Telling {
    paused: bool,
    since: Instant,
    pass: Pass,
    /// The last pass has begun.
    last: bool,
}

/// Where a pass is.
#[derive(Clone, Copy)]
enum Pass {
    /// Behind this place, or at the first one.
    At(Option<RoomPlace>),
    Through,
}

impl Telling {
    fn of(paused: bool) -> Telling {
        Telling { paused, since: Instant::now(), pass: Pass::At(None), last: false }
    }

    /// Goes over all of them again for what came late.
    fn again(&mut self) {
        if matches!(self.pass, Pass::Through) && !self.last && self.since.elapsed() >= LATE {
            (self.pass, self.last) = (Pass::At(None), true);
        }
    }
}

impl Reasons {
    /// Goes on by a page with each account that has paused or resumed since the last call, or since the start.
    pub async fn follow(&mut self, desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
        for (account, settings) in desk.settings.accounts.iter().enumerate() {
            let paused = desk.is_seen_paused(account);
            if self.of.len() <= account {
                self.of.push(Telling::of(paused));
            }
            let telling = &mut self.of[account];
            if telling.paused != paused {
                *telling = Telling::of(paused);
            }
            telling.again();
            let Pass::At(after) = telling.pass else { continue };
            // What another account is about to take need not be told.
            if paused && pace.act(|pacer, _| accounts::stand_in(desk, pacer, account)).is_some() {
                continue;
            }
            let next = desk.ports.upkeep.say_why(&settings.name, after, BATCH).await?;
            telling.pass = next.map_or(Pass::Through, |place| Pass::At(Some(place)));
        }
        Ok(())
    }
}
