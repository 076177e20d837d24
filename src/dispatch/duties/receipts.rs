//! Receipts that came before their job was known, or that end a doubt. One batch at a time, however
//! many there are: a flood of unknown ids must not keep Postgres from sending.

use std::time::Duration;

use tracing::info;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::State;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    // Before their look is counted. The job has the smsid then, and is found by it like any other.
    let certain = desk.ports.upkeep.end_doubts(Duration::ZERO, BATCH).await?;
    if !certain.is_empty() {
        info!(jobs = certain.len(), "receipts show that ihuyi took jobs that were in doubt");
    }
    certain.iter().for_each(|account| desk.metrics.finished(account, State::Accepted, None, 1));
    for job in desk.ports.upkeep.look_again(Duration::ZERO, BATCH).await? {
        desk.metrics.finished(&job.account, job.state, job.code, 1);
    }
    Ok(())
}
