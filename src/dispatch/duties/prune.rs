//! What is old goes: settled jobs with their attempts, what ihuyi said of them, rejections, notes of operations, replays.
//! In small batches, one at a time, that never hold up sending.

use std::time::Duration;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    if let Some(before) = before(desk, desk.settings.retention) {
        while desk.ports.upkeep.prune(before, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
        // Of each kind a batch at most.
        while desk.ports.upkeep.prune_feedback(before, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
    }
    if let Some(before) = before(desk, desk.settings.keep_records) {
        while desk.ports.upkeep.prune_records(before, BATCH).await? >= u64::from(BATCH) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// What is older than `age` goes; `None` where there was no such time.
fn before(desk: &Desk, age: Duration) -> Option<Timestamp> {
    chrono::Duration::from_std(age).ok().and_then(|age| desk.now().checked_sub_signed(age))
}
