//! Accounts are paused and resumed by hand.

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::Operator;
use crate::dispatch::ports::LedgerError;

impl Store {
    /// Pauses an account by hand, which takes over a pause by the gateway. False if nothing changed.
    pub async fn operate_pause(&self, by: &Operator, name: &str) -> Result<bool, LedgerError> {
        self.operate_account(
            by,
            name,
            "with changed as (
                 update accounts
                 set state = 'paused', reason = coalesce($4, 'paused by hand'), paused_by = 'operator', refusals = false,
                     paused_at = coalesce(paused_at, now()), updated_at = now()
                 where name = $1 and (state = 'active' or paused_by = 'gateway')
                 returning name
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, 'pause', jsonb_build_object('account', name), 1, $4 from changed
             )
             select name from changed",
        )
        .await
    }

    /// Ends a pause, whoever began it. False if nothing changed.
    pub async fn operate_resume(&self, by: &Operator, name: &str) -> Result<bool, LedgerError> {
        self.operate_account(
            by,
            name,
            "with changed as (
                 update accounts
                 set state = 'active', reason = null, paused_at = null, paused_by = null, refusals = false,
                     updated_at = now()
                 where name = $1 and state = 'paused'
                 returning name
             ), noted as (
                 insert into operations (actor, via, action, target, count, reason)
                 select $2, $3, 'resume', jsonb_build_object('account', name), 1, $4 from changed
             )
             select name from changed",
        )
        .await
    }

    async fn operate_account(&self, by: &Operator, name: &str, sql: &'static str) -> Result<bool, LedgerError> {
        let changed = sqlx::query(sql)
            .bind(name)
            .bind(&by.actor)
            .bind(by.via.as_str())
            .bind(&by.reason)
            .fetch_optional(&self.pool)
            .await
            .map_err(ledger_error)?;
        Ok(changed.is_some())
    }
}
