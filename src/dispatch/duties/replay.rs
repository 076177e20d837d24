//! Replays go on, each at its rate.

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::LedgerError;

/// Steps at a time, so that other duties get their turn.
const STEPS: u32 = 50;

/// Sends what is due of each replay.
pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    for _ in 0..STEPS {
        if !desk.ports.upkeep.replay(desk.now(), BATCH).await? {
            break;
        }
    }
    Ok(())
}

/// Notes what came of it.
pub(super) async fn results(desk: &Desk) -> Result<(), LedgerError> {
    desk.ports.upkeep.replay_results().await
}
