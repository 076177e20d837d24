//! What is old goes: settled jobs with their attempts, what ihuyi said of them, rejections, notes of operations, replays.
//! In small batches, one at a time, that never hold up sending.

use std::time::Duration;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::{LedgerError, Old};

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    if let Some(old) = older_than(desk, desk.settings.retention) {
        while desk.ports.upkeep.prune(old, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
        // Of each kind a batch at most.
        while desk.ports.upkeep.prune_feedback(old, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
    }
    if let Some(old) = older_than(desk, desk.settings.keep_records) {
        while desk.ports.upkeep.prune_records(old, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// `None` where there was no such time.
fn older_than(desk: &Desk, age: Duration) -> Option<Old> {
    let before = chrono::Duration::from_std(age).ok().and_then(|age| desk.now().checked_sub_signed(age))?;
    Some(Old { before, age })
}
