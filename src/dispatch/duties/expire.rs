//! What waits beyond its `expires_at` expires.

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::State;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    loop {
        let expired = desk.ports.upkeep.expire(desk.now(), BATCH).await?;
        for (account, jobs) in &expired {
            desk.metrics.finished(account, State::Expired, None, *jobs);
        }
        if !expired.is_empty() {
            desk.announced.notify_one();
        }
        if expired.iter().map(|(_, jobs)| jobs).sum::<u64>() < u64::from(BATCH) {
            return Ok(());
        }
    }
}
