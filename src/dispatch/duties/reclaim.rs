//! Attempts whose owner is gone: the request may have left, so the outcome is unknown.

use tracing::warn;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::{LedgerError, Record, StaleClaim};
use crate::domain::decide::{Facts, decide};
use crate::domain::job::{Outcome, State};
use crate::domain::verdict::Reply;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    let stale = desk.ports.upkeep.stale_claims(BATCH).await?;
    if stale.is_empty() {
        return Ok(());
    }
    warn!(jobs = stale.len(), "attempts were left open by a process that ended: their outcome is unknown");
    let settled = stale.into_iter().map(|claim| settle(desk, claim));
    futures_util::future::join_all(settled).await;
    Ok(())
}

async fn settle(desk: &Desk, stale: StaleClaim) {
    let message = "the dispatcher ended while the request may have been on the wire".to_owned();
    let facts = Facts {
        attempts: stale.claim.attempts,
        requests: stale.claim.request,
        resigned_before: false,
        on_unknown: stale.on_unknown,
    };
    let reply = Reply::Unknown(message.clone());
    let decision = decide(facts, Outcome::Unknown, &reply, &desk.settings.retry, desk.now(), desk.jitter());
    let state = decision.next.state();
    let record = Record { id: stale.id, request: stale.claim.request, decision, answer: None, message };
    // A refusal is logged by the batch; the claim is still stale at the next look.
    if let Ok(true) = desk.records.commit(record).await {
        desk.metrics.submission(&stale.account, Outcome::Unknown, None);
        if state.is_settled() || state == State::InDoubt {
            desk.metrics.finished(&stale.account, state, None, 1);
        }
    }
}
