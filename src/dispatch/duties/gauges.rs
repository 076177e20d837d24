//! Counts that only Postgres and the pacer know.

use crate::dispatch::desk::Desk;
use crate::dispatch::health::Part;
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::LedgerError;

pub(super) async fn once(desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
    let (in_flight, tracked) = pace.act(|pacer, _| {
        let in_flight: Vec<u32> = (0..desk.settings.accounts.len()).map(|account| pacer.in_flight(account)).collect();
        (in_flight, pacer.tracked_mobiles())
    });
    for (account, jobs) in desk.settings.accounts.iter().zip(in_flight) {
        desk.metrics.in_flight.with_label_values(&[&account.name]).set(i64::from(jobs));
    }
    desk.metrics.tracked_mobiles.set(tracked as f64);
    match desk.ports.publisher.trouble().or_else(|| desk.ports.announcer.trouble()) {
        Some(reason) => _ = desk.health.down(Part::Publishing, reason),
        None => _ = desk.health.up(Part::Publishing),
    }
    let waiting = desk.ports.upkeep.waiting().await?;
    desk.metrics.set_waiting(&waiting.by_reason);
    desk.metrics.in_doubt.set(waiting.in_doubt);
    desk.metrics.events_pending.set(waiting.events);
    Ok(())
}
