//! Refused messages are published again by hand.

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::Operator;
use crate::dispatch::ports::LedgerError;

impl Store {
    /// Marks rejections whose messages were published again.
    pub async fn mark_retried(&self, by: &Operator, ids: &[i64]) -> Result<(), LedgerError> {
        sqlx::query(
            "with marked as (
                 update rejections set retried_at = now() where id = any($1) returning id
             )
             insert into operations (actor, via, action, target, count, reason)
             select $2, $3, 'retry', jsonb_build_object('rejections', jsonb_agg(id order by id)), count(*), $4
             from marked having count(*) > 0",
        )
        .bind(ids)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }
}
