//! Attempts whose owner is gone: the request may have left, so the outcome is unknown.

use tracing::warn;

use super::BATCH;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::{LedgerError, Record, StaleClaim};
use crate::domain::decide::{Facts, decide};
use crate::domain::job::Outcome;
use crate::domain::verdict::Reply;

pub(super) async fn once(desk: &Desk) -> Result<(), LedgerError> {
    let stale = desk.ports.upkeep.stale_claims(BATCH).await?;
    if stale.is_empty() {
        return Ok(());
    }
    warn!(jobs = stale.len(), "attempts were left open by a process that ended: their outcome is unknown");
    // A statement of its own, not the batch of the jobs' own outcomes: of two rows of one statement
    // that end the same attempt Postgres takes either, and the owner's answer must win.
    let records: Vec<Record> = stale.iter().map(|claim| unknown(desk, claim)).collect();
    let landed = desk.ports.ledger.record(&records).await?;
    desk.announced.notify_one();
    for ((claim, record), _) in stale.iter().zip(&records).zip(landed).filter(|(_, landed)| *landed) {
        desk.metrics.ended(&claim.account, Outcome::Unknown, record.decision.next.state(), None);
    }
    Ok(())
}

fn unknown(desk: &Desk, stale: &StaleClaim) -> Record {
    let message = "the dispatcher ended while the request may have been on the wire".to_owned();
    let facts = Facts {
        attempts: stale.claim.attempts,
        requests: stale.claim.request,
        resigned_before: false,
        on_unknown: stale.on_unknown,
    };
    let reply = Reply::Unknown(message.clone());
    let decision = decide(facts, Outcome::Unknown, &reply, &desk.settings.retry, desk.now(), desk.jitter());
    Record { id: stale.id.clone(), request: stale.claim.request, decision, answer: None, message }
}
