//! Counts that only Postgres and the pacer know.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::pause;
use crate::dispatch::desk::Desk;
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::LedgerError;

/// A count takes as long as the backlog is large. It is followed by a rest of so many times that, so that
/// a backlog of millions keeps Postgres busy for a twentieth of the time at most.
const REST: u32 = 20;

/// Counts again and again.
pub(super) async fn run(desk: Arc<Desk>, pace: Arc<Pace>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let begun = Instant::now();
        if let Err(error) = once(&desk, &pace).await {
            debug!(%error, "the gauges will be counted again");
        }
        pause(desk.settings.tempo.gauges.max(begun.elapsed() * REST), &stop).await;
    }
}

async fn once(desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
    let (in_flight, tracked, is_open) = pace.act(|pacer, _| {
        let in_flight: Vec<u32> = (0..desk.settings.accounts.len()).map(|account| pacer.in_flight(account)).collect();
        (in_flight, pacer.tracked_mobiles(), pacer.circuit.is_open())
    });
    desk.metrics.circuit_open.set(i64::from(is_open));
    for (account, jobs) in desk.settings.accounts.iter().zip(in_flight) {
        desk.metrics.in_flight.with_label_values(&[&account.name]).set(i64::from(jobs));
    }
    desk.metrics.tracked_mobiles.set(tracked as f64);
    let accounts: Vec<String> = desk.settings.account_names().map(String::from).collect();
    let waiting = desk.ports.upkeep.waiting(&accounts).await?;
    desk.metrics.set_waiting(&waiting.by_reason);
    desk.metrics.stranded.set(waiting.stranded);
    desk.metrics.in_doubt.set(waiting.in_doubt);
    desk.metrics.events_pending.set(waiting.events);
    Ok(())
}
