//! Refused messages are published again, as replays over them ask.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, warn};

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
/// How often one that fails alone is tried before it counts as one that the broker never takes.
const TRIES: u32 = 2;

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

/// False where RabbitMQ did not take all of them: those are handed out again.
async fn publish(desk: &Desk, retries: &[Retry]) -> Result<bool, LedgerError> {
    let taken = match again(desk, retries).await {
        Ok(taken) => taken.into_iter().map(|taken| Some(true).filter(|_| taken)).collect(),
        // It may be one of them that ends the channel for all, as one that is too large does.
        Err(problem) if is_there(desk).await => {
            debug!(problem, messages = retries.len(), "refused messages are published one by one");
            one_by_one(desk, retries).await
        }
        Err(problem) => {
            warn!(problem, messages = retries.len(), "refused messages will be published again");
            return Ok(false);
        }
    };
    let known = retries.iter().zip(&taken).filter_map(|(retry, taken)| Some(retried(desk, retry, (*taken)?)));
    let known: Vec<Retried> = known.collect();
    desk.ports.upkeep.retried(&known).await?;
    let left = retries.len() - known.len();
    if left > 0 {
        warn!(messages = left, "RabbitMQ did not take refused messages: they will be published again");
    }
    Ok(left == 0)
}

/// Of each, whether the broker has it; `None` where that may change.
async fn one_by_one(desk: &Desk, retries: &[Retry]) -> Vec<Option<bool>> {
    let mut taken = Vec::with_capacity(retries.len());
    for retry in retries {
        match alone(desk, retry).await {
            Ok(verdict) => taken.push(verdict),
            // The broker has gone meanwhile.
            Err(()) => break,
        }
    }
    taken
}

/// What the broker says of one message; an error where it is not there. Only what fails time and again, by itself and
/// with a broker that is there, will never be taken.
async fn alone(desk: &Desk, retry: &Retry) -> Result<Option<bool>, ()> {
    let mut problem = String::new();
    for _ in 0..TRIES {
        match again(desk, std::slice::from_ref(retry)).await {
            Ok(taken) => return Ok(Some(true).filter(|_| taken == [true])),
            Err(why) if is_there(desk).await => problem = why,
            Err(_) => return Err(()),
        }
    }
    warn!(rejection = retry.rejection, problem, "RabbitMQ does not take a refused message back: it is left as it was");
    Ok(Some(false))
}

async fn is_there(desk: &Desk) -> bool {
    again(desk, &[]).await.is_ok()
}

async fn again(desk: &Desk, retries: &[Retry]) -> Result<Vec<bool>, String> {
    match timeout(CONFIRM, desk.ports.publisher.again(retries)).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("RabbitMQ has not confirmed within {} s", CONFIRM.as_secs())),
    }
}

/// The job is known here already: the intake judges the message by the same rules.
fn retried(desk: &Desk, retry: &Retry, taken: bool) -> Retried {
    let properties = desk.ports.publisher.described(&retry.properties);
    let job = message::decode(&retry.body, &properties, &desk.settings.rules).ok();
    let job = job.map(|job| (job.id.clone(), job.digest()));
    Retried { replay: retry.replay, position: retry.position, taken, job: job.filter(|_| taken) }
}
