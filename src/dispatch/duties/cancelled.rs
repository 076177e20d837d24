//! Slots of cancelled jobs are given back: else a number's later jobs would stand behind them, sent to nobody, until
//! their line is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::pause;
use crate::dispatch::desk::Desk;
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::LedgerError;

/// A transaction that cancels may have begun so long before it was committed.
const OVERLAP: Duration = Duration::from_secs(3);
/// Of one account so many cancelled jobs are looked at, and others' slots run out with time.
const MOST: u32 = 10_000;

pub(super) async fn run(desk: Arc<Desk>, pace: Arc<Pace>, stop: CancellationToken) {
    let mut seen = Instant::now();
    while !stop.is_cancelled() {
        let now = Instant::now();
        match once(&desk, &pace, now - seen + OVERLAP).await {
            Ok(()) => seen = now,
            Err(error) => debug!(%error, "slots of cancelled jobs are given back later"),
        }
        pause(desk.settings.tempo.accounts, &stop).await;
    }
}

/// The end of each line is noted before Postgres is asked for it: whoever joins it meanwhile changes it.
async fn once(desk: &Desk, pace: &Pace, within: Duration) -> Result<(), LedgerError> {
    let gone = desk.ports.upkeep.cancelled(within, MOST).await?;
    let ends = pace.act(|pacer, now| {
        let end = |(mobile, priority)| Some(((mobile, priority), pacer.end_of_line(mobile, priority, now)?));
        gone.into_iter().filter_map(end).collect::<Vec<_>>()
    });
    if ends.is_empty() {
        return Ok(());
    }
    let (lines, ends): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    let slots = desk.ports.upkeep.last_slots(&lines).await?;
    let wall = desk.now();
    for (((mobile, priority), end), slot) in lines.into_iter().zip(ends).zip(slots) {
        let last = slot.map(|at| pace.tick_of(at, wall));
        pace.act(|pacer, now| pacer.shorten_line(mobile, priority, end, last, now));
    }
    Ok(())
}
