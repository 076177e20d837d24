//! Jobs that wait for room say why. When an account pauses or resumes, those that wait already are told, a few
//! at a time: a backlog of 200,000 within minutes, beside everything else.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::{AccountRow, LedgerError, RoomPlace};

/// Of each look at the accounts, so much may go to what is mended.
const SHARE: Duration = Duration::from_millis(250);
/// A job may be parked with the old reason by a statement that began before the pause, and ends so much later.
const LATE: Duration = Duration::from_secs(10);

/// How far each account's jobs have been told.
#[derive(Default)]
pub(super) struct Reasons {
    of: HashMap<String, Telling>,
}

struct Telling {
    paused: bool,
    since: Instant,
    /// Where to go on; `None` where this pass is through.
    next: Option<Option<RoomPlace>>,
    /// The last pass has begun.
    last: bool,
}

impl Telling {
    fn of(paused: bool) -> Telling {
        Telling { paused, since: Instant::now(), next: Some(None), last: false }
    }

    /// Goes over all of them again for what came late.
    fn again(&mut self) {
        if self.next.is_none() && !self.last && self.since.elapsed() >= LATE {
            (self.next, self.last) = (Some(None), true);
        }
    }
}

impl Reasons {
    /// Goes on with those accounts that have paused or resumed since the last call, or since the start.
    pub async fn follow(&mut self, desk: &Desk, rows: &[AccountRow]) -> Result<(), LedgerError> {
        let begun = Instant::now();
        for row in rows {
            let telling = self.of.entry(row.name.clone()).or_insert_with(|| Telling::of(row.paused.is_some()));
            if telling.paused != row.paused.is_some() {
                *telling = Telling::of(row.paused.is_some());
            }
            telling.again();
            while let Some(after) = telling.next.filter(|_| begun.elapsed() < SHARE) {
                telling.next = desk.ports.upkeep.say_why(&row.name, after, BATCH).await?.map(Some);
            }
        }
        Ok(())
    }
}
