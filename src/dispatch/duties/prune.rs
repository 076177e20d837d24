//! Settled jobs age out, and what ihuyi said of them, in small batches that never hold up sending.

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::LedgerError;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    let Some(before) =
        chrono::Duration::from_std(desk.settings.retention).ok().and_then(|age| desk.now().checked_sub_signed(age))
    else {
        return Ok(());
    };
    while desk.ports.upkeep.prune(before, BATCH).await? >= u64::from(BATCH) {
        tokio::task::yield_now().await;
    }
    // Of each kind a batch at most.
    while desk.ports.upkeep.prune_feedback(before, BATCH).await? >= u64::from(BATCH) {
        tokio::task::yield_now().await;
    }
    Ok(())
}
