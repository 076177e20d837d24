//! Accounts and their pauses.

use serde::Serialize;
use sqlx::FromRow;

use super::super::connect::Store;
use super::super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;

/// An account as Postgres has it.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AccountInfo {
    /// Its name in the configuration.
    pub name: String,
    /// active or paused.
    pub state: String,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Since when.
    pub paused_at: Option<Timestamp>,
    /// gateway or operator: the latter's pause only an operator ends.
    pub paused_by: Option<String>,
}

impl Store {
    /// Every account that a daemon has ever started with, by name.
    pub async fn list_account_info(&self) -> Result<Vec<AccountInfo>, LedgerError> {
        sqlx::query_as("select name, state, reason, paused_at, paused_by from accounts order by name")
            .fetch_all(&self.pool)
            .await
            .map_err(ledger_error)
    }
}
