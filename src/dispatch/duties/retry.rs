//! Refused messages are published again, as replays over them ask.

use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::{LedgerError, Retried, Retry};
use crate::domain::message;

/// Batches at a time, so that the duty ends soon when its session does.
const STEPS: u32 = 20;
/// For the broker to confirm a batch.
const CONFIRM: Duration = Duration::from_secs(10);
/// What was handed out and not confirmed for so long is handed out again: its publisher is gone, or has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Publishes what is due of each replay.
pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    for _ in 0..STEPS {
        let Some(retries) = desk.ports.upkeep.retries(PATIENCE, BATCH).await? else { break };
        if !retries.is_empty() && !publish(desk, &retries).await? {
            break;
        }
    }
    Ok(())
}

/// False where RabbitMQ did not take them: they are handed out again.
async fn publish(desk: &Desk, retries: &[Retry]) -> Result<bool, LedgerError> {
    let problem = match timeout(CONFIRM, desk.ports.publisher.again(retries)).await {
        Ok(Ok(())) => {
            let rows: Vec<Retried> = retries.iter().map(|retry| retried(desk, retry)).collect();
            desk.ports.upkeep.retried(&rows).await?;
            return Ok(true);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("RabbitMQ has not confirmed within {} s", CONFIRM.as_secs()),
    };
    warn!(problem, messages = retries.len(), "refused messages will be published again");
    Ok(false)
}

/// The job is known here already: the intake judges the message by the same rules.
fn retried(desk: &Desk, retry: &Retry) -> Retried {
    let properties = desk.ports.publisher.described(&retry.properties);
    let job = message::decode(&retry.body, &properties, &desk.settings.rules).ok();
    let job = job.map(|job| (job.id.clone(), job.digest()));
    Retried { replay: retry.replay, position: retry.position, job }
}
