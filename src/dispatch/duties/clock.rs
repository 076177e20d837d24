//! Somebody sets the machine's clock. Limits and backoffs run on the monotonic clock while they are in
//! memory; what waits in Postgres has a time of the wall clock. A clock that is put on lets it come early,
//! and the limiters hold it; one that is put back by an hour would let it wait an hour longer.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BATCH, pause};
use crate::dispatch::desk::Desk;
use crate::domain::job::Timestamp;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Less is the work of NTP, which corrects a clock in small steps.
const STEP: TimeDelta = TimeDelta::seconds(2);

/// The wall clock beside the monotonic one.
#[derive(Clone, Copy)]
pub(super) struct Look {
    wall: Timestamp,
    at: Instant,
}

impl Look {
    /// Both at this moment.
    pub fn at_both(desk: &Desk) -> Look {
        Look { wall: desk.now(), at: Instant::now() }
    }

    /// How far the wall clock was put on since `last`, or put back where that is negative.
    pub fn set_since(self, last: Look) -> Option<TimeDelta> {
        let passed = TimeDelta::from_std(self.at.saturating_duration_since(last.at)).ok()?;
        Some(self.wall - last.wall - passed).filter(|by| by.abs() > STEP)
    }
}

pub(super) async fn run(desk: Arc<Desk>, stop: CancellationToken) {
    let mut last = Look::at_both(&desk);
    while !stop.is_cancelled() {
        pause(LOOK, &stop).await;
        let next = Look::at_both(&desk);
        let Some(back) = next.set_since(last).map(|by| -by).filter(|back| *back > TimeDelta::zero()) else {
            last = next;
            continue;
        };
        last = next;
        warn!(seconds = back.num_seconds(), "the clock was put back: what waits is due as much earlier");
        put_forward(&desk, back, &stop).await;
    }
}

/// Page by page, beside everything else; where Postgres does not take one, until it does.
async fn put_forward(desk: &Desk, by: TimeDelta, stop: &CancellationToken) {
    let (mut jobs, mut after) = (0, None);
    while !stop.is_cancelled() {
        match desk.ports.upkeep.put_forward(by, after.clone(), BATCH).await {
            Ok((moved, None)) => return info!(jobs = jobs + moved, "what waits is due earlier"),
            Ok((moved, next)) => (jobs, after) = (jobs + moved, next),
            Err(error) => {
                warn!(%error, jobs, "the rest of what waits is due earlier once Postgres takes it");
                pause(LOOK, stop).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_more_than_a_correction() {
        let wall = "2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap();
        let last = Look { wall, at: Instant::now() };
        let set = |wall_ms: i64, ms: u64| {
            let at = last.at + Duration::from_millis(ms);
            Look { wall: wall + TimeDelta::milliseconds(wall_ms), at }.set_since(last)
        };
        assert_eq!((set(1_000, 1_000), set(-500, 1_000), set(2_500, 1_000)), (None, None, None));
        assert_eq!(set(-3_599_000, 1_000), Some(TimeDelta::hours(-1)));
        assert_eq!(set(3_601_000, 1_000), Some(TimeDelta::hours(1)));
    }
}
