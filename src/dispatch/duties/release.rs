//! Waiting jobs go back to RabbitMQ: those that are due, and those for whom their account has room.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::reasons::Reasons;
use super::{BATCH, pause};
use crate::dispatch::desk::Desk;
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::{LedgerError, Released};
use crate::domain::job::Priority;

/// Looks again at once while there is more than one batch.
pub(super) async fn run(desk: Arc<Desk>, pace: Arc<Pace>, stop: CancellationToken) {
    let mut reasons = Reasons::default();
    while !stop.is_cancelled() {
        let more = match once(&desk, &pace).await {
            Ok(more) => more,
            Err(error) => {
                warn!(%error, "jobs that are due wait for Postgres");
                false
            }
        };
        if let Err(error) = reasons.follow(&desk, &pace).await {
            debug!(%error, "parked jobs say why they wait later");
        }
        if !more {
            pause(desk.settings.tempo.release, &stop).await;
        }
    }
}

async fn once(desk: &Desk, pace: &Pace) -> Result<bool, LedgerError> {
    let woken = desk.ports.upkeep.wake(desk.now(), BATCH).await?;
    pace.act(|pacer, _| {
        let known = woken.iter().filter_map(|(name, priority)| Some((desk.settings.account(name)?, *priority)));
        known.for_each(|(account, priority)| pacer.add_backlog(account, priority, 1));
    });
    let due = desk.ports.upkeep.release_due(desk.now(), BATCH).await?;
    let more = is_full(woken.iter().map(|(_, priority)| *priority)) || is_full(due.iter().map(|it| it.job.priority));
    publish(desk, &due).await;
    let mut released = Vec::new();
    let outcome = release_rooms(desk, pace, &mut released).await;
    // Jobs for one number keep their order also where they go through several accounts.
    released.sort_by_key(|released| (released.job.priority, released.seq));
    publish(desk, &released).await;
    outcome.map(|()| more)
}

/// Of one priority there may be more.
fn is_full(found: impl Iterator<Item = Priority>) -> bool {
    let mut counts = [0; 3];
    found.for_each(|priority| counts[priority.index()] += 1);
    counts.contains(&BATCH)
}

/// What there is room for is `queued`, and in `all`, also where Postgres fails in between.
async fn release_rooms(desk: &Desk, pace: &Pace, all: &mut Vec<Released>) -> Result<(), LedgerError> {
    let (rooms, is_probe) = pace.act(|pacer, now| (pacer.rooms(now), pacer.circuit.is_open()));
    for room in rooms {
        // What waits for room waits through the night, instead of coming out only to be parked again. With the circuit
        // open one job is enough.
        let is_asleep = desk.settings.quiet.ends(room.priority, desk.now()).is_some();
        if is_asleep || is_probe && !all.is_empty() {
            pace.act(|pacer, _| pacer.left_over(room));
            continue;
        }
        let limit = u32::try_from(room.jobs).unwrap_or(u32::MAX);
        let released = desk.ports.upkeep.release_room(desk.account_name(room.account), room.priority, limit).await?;
        pace.act(|pacer, now| pacer.released(room, released.len(), now));
        all.extend(released);
    }
    Ok(())
}

/// A failure leaves rows `queued` without a message: [`lost`] finds them.
async fn publish(desk: &Desk, jobs: &[Released]) {
    if jobs.is_empty() {
        return;
    }
    if let Err(error) = desk.ports.publisher.release(jobs).await {
        warn!(%error, jobs = jobs.len(), "released jobs will be published again");
    }
}

/// Publishes again what was released and has not come back: the publish failed, or the broker lost
/// it. A copy too many is recognised by its job's state.
pub(super) async fn lost(desk: &Desk) -> Result<(), LedgerError> {
    let age = desk.settings.tempo.lost.as_secs() as u32;
    let lost = desk.ports.upkeep.release_lost(age, BATCH).await?;
    if !lost.is_empty() {
        info!(jobs = lost.len(), "released jobs have not come back: publishing them again");
        publish(desk, &lost).await;
    }
    Ok(())
}
