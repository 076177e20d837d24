//! Whom bulk jobs spare: changed by operators here, and by replies in `replies`.

use super::connect::Store;
use super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::mobile::Mobile;

/// Who does something, how, and why: as it stands in `operations`.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The token's name in the API, the system's user on the command line.
    pub actor: &'a str,
    /// `cli`, `api` or `console`.
    pub via: &'a str,
    /// In the operator's words.
    pub reason: &'a str,
}

impl Store {
    /// Puts a number on the suppression list. False if it was there. Recorded in the same statement.
    pub async fn suppress(&self, mobile: Mobile, act: Act<'_>) -> Result<bool, LedgerError> {
        let done = sqlx::query_scalar(
            "with changed as (
                 insert into suppressions (mobile, reason, added_by) values ($1, $2, $3)
                 on conflict (mobile) do nothing
                 returning mobile
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $3, $4, 'suppress', jsonb_build_object('mobile', $5::text), count(*), $2 from changed
             )
             select count(*) > 0 from changed",
        );
        let done = done.bind(mobile.digits()).bind(act.reason).bind(act.actor).bind(act.via);
        done.bind(mobile.to_string()).fetch_one(&self.pool).await.map_err(ledger_error)
    }

    /// Takes a number off the suppression list. False if it was not there. Recorded in the same statement.
    pub async fn unsuppress(&self, mobile: Mobile, act: Act<'_>) -> Result<bool, LedgerError> {
        let done = sqlx::query_scalar(
            "with changed as (
                 delete from suppressions where mobile = $1
                 returning mobile
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $3, $4, 'unsuppress', jsonb_build_object('mobile', $5::text), count(*), $2 from changed
             )
             select count(*) > 0 from changed",
        );
        let done = done.bind(mobile.digits()).bind(act.reason).bind(act.actor).bind(act.via);
        done.bind(mobile.to_string()).fetch_one(&self.pool).await.map_err(ledger_error)
    }
}
