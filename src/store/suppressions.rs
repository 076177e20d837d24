//! Whom bulk jobs spare: changed by operators here, and by replies in `replies`.

use super::connect::Store;
use super::error::ledger_error;
use super::operate::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::mobile::Mobile;

/// The reason of whoever gave none.
const NO_REASON: &str = "by hand";

impl Store {
    /// Puts a number on the suppression list. False if it was there. Recorded in the same statement.
    pub async fn suppress(&self, mobile: Mobile, by: &Operator) -> Result<bool, LedgerError> {
        let reason = by.reason.as_deref().unwrap_or(NO_REASON);
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
        let done = done.bind(mobile.digits()).bind(reason).bind(&by.actor).bind(by.via.as_str());
        done.bind(mobile.to_string()).fetch_one(&self.pool).await.map_err(ledger_error)
    }

    /// Takes a number off the suppression list. False if it was not there. Recorded in the same statement.
    pub async fn unsuppress(&self, mobile: Mobile, by: &Operator) -> Result<bool, LedgerError> {
        let reason = by.reason.as_deref().unwrap_or(NO_REASON);
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
        let done = done.bind(mobile.digits()).bind(reason).bind(&by.actor).bind(by.via.as_str());
        done.bind(mobile.to_string()).fetch_one(&self.pool).await.map_err(ledger_error)
    }
}
