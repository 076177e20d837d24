//! Who did what.

use serde_json::{Value, json};

use super::super::connect::Store;
use super::super::error::ledger_error;
use crate::dispatch::ports::LedgerError;
use crate::domain::mobile::Mobile;

/// Where an act came from: `operations.via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The command line.
    Cli,
    /// The HTTP API.
    Api,
}

impl Via {
    /// The word in `operations.via`.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Cli => "cli",
            Via::Api => "api",
        }
    }
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The token's name, or the system's user.
    pub actor: String,
    /// From where.
    pub via: Via,
    /// In the person's own words.
    pub reason: Option<String>,
}

impl Store {
    /// Notes that somebody looked for a number, and how many jobs were found.
    pub async fn note_search(&self, by: &Operator, mobile: Mobile, found: i64) -> Result<(), LedgerError> {
        self.note(by, "search", &json!({ "mobile": mobile.to_string() }), found).await
    }

    /// Notes an act that changes no row of ours, such as a reload. `target` holds no full number.
    pub async fn note(&self, by: &Operator, action: &str, target: &Value, count: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "insert into operations (actor, via, action, target, count, reason) values ($1, $2, $3, $4::jsonb, $5, $6)",
        )
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(action)
        .bind(target.to_string())
        .bind(count)
        .bind(&by.reason)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }
}
