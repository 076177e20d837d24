//! Somebody sets the machine's clock. Limits and backoffs run on the monotonic clock while they are in
//! memory; what waits in Postgres has a time of the wall clock. A clock that is put on lets it come early,
//! and the limiters hold it; one that is put back by an hour would let it wait an hour longer.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::pause;
use crate::dispatch::desk::Desk;
use crate::domain::job::Timestamp;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Less is the work of NTP, which corrects a clock in small steps.
const STEP: TimeDelta = TimeDelta::seconds(2);

pub(super) async fn run(desk: Arc<Desk>, stop: CancellationToken) {
    let mut last = (desk.now(), Instant::now());
    while !stop.is_cancelled() {
        pause(LOOK, &stop).await;
        let next = (desk.now(), Instant::now());
        let Some(by) = put_back(last, next) else {
            last = next;
            continue;
        };
        // Where Postgres does not take it, the next look finds the same step.
        if let Ok(jobs) = desk.ports.upkeep.put_forward(by).await {
            warn!(seconds = by.num_seconds(), jobs, "the clock was put back: what waits is due as much earlier");
            last = next;
        }
    }
}

/// How far the clock was put back between two looks.
fn put_back((wall, at): (Timestamp, Instant), (now, then): (Timestamp, Instant)) -> Option<TimeDelta> {
    let passed = TimeDelta::from_std(then.saturating_duration_since(at)).ok()?;
    Some(passed - (now - wall)).filter(|back| *back > STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_back_counts() {
        let (wall, at) = ("2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap(), Instant::now());
        let look = |wall_ms: i64, ms: u64| {
            put_back((wall, at), (wall + TimeDelta::milliseconds(wall_ms), at + Duration::from_millis(ms)))
        };
        assert_eq!(look(1_000, 1_000), None);
        // NTP, a machine that slept, and a clock that was put on.
        assert_eq!((look(-500, 1_000), look(3_600_000, 1_000)), (None, None));
        assert_eq!(look(-3_599_000, 1_000), Some(TimeDelta::hours(1)));
    }
}
