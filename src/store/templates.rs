//! Templates that were registered at ihuyi, and their reviews.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use sqlx::FromRow;

use super::connect::Store;
use super::error::ledger_error;
use super::operate::Operator;
use crate::dispatch::ports::LedgerError;
use crate::domain::job::Timestamp;
use crate::domain::review::Review;

/// A template as ihuyi has it.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct TemplateInfo {
    /// ihuyi's number of it.
    pub id: String,
    /// The account that it was registered for here.
    pub account: Option<String>,
    /// As registered.
    pub content: Option<String>,
    /// pending, approved or refused.
    pub state: String,
    /// Of the review.
    pub code: Option<i64>,
    /// Of the review.
    pub message: Option<String>,
    /// Who registered it.
    pub added_by: Option<String>,
    /// When.
    pub added_at: Option<Timestamp>,
    /// When the last review came.
    pub reviewed_at: Option<Timestamp>,
}

impl Store {
    /// Notes a template that ihuyi has given this number to. Its review may have come before.
    pub async fn add_template(&self, by: &Operator, id: &str, account: &str, content: &str) -> Result<(), LedgerError> {
        sqlx::query(
            "with added as (
                 insert into templates (id, account, content, added_by, added_at) values ($1, $2, $3, $4, now())
                 on conflict (id) do update set account = excluded.account, content = excluded.content,
                     added_by = excluded.added_by, added_at = excluded.added_at
             )
             insert into operations (actor, via, action, target, count, reason)
             values ($4, $5, 'add_template', jsonb_build_object('template_id', $1::text, 'account', $2::text), 1, $6)",
        )
        .bind(id)
        .bind(account)
        .bind(content)
        .bind(&by.actor)
        .bind(by.via.as_str())
        .bind(&by.reason)
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(ledger_error)
    }

    /// Every template that was registered here or reviewed.
    pub async fn list_templates(&self) -> Result<Vec<TemplateInfo>, LedgerError> {
        sqlx::query_as(
            "select id, account, content, state, code, message, added_by, added_at, reviewed_at from templates
             order by added_at nulls last, id",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// Keeps reviews; of several of one template the last. False where nothing changed by it.
    pub(super) async fn review_rows(&self, rows: &[Arc<Review>]) -> Result<Vec<bool>, LedgerError> {
        let last: HashMap<&str, &Review> = rows.iter().map(|row| (row.id.as_str(), &**row)).collect();
        let mut last: Vec<&Review> = last.into_values().collect();
        last.sort_by(|a, b| a.id.cmp(&b.id));
        let changed: Vec<String> = sqlx::query_scalar(
            "insert into templates as t (id, state, code, message, reviewed_at)
             select id, case when approved then 'approved' else 'refused' end, code, message, now()
             from unnest($1::text[], $2::bool[], $3::bigint[], $4::text[]) as i(id, approved, code, message)
             on conflict (id) do update set state = excluded.state, code = excluded.code, message = excluded.message,
                 reviewed_at = excluded.reviewed_at
             where (t.state, t.code, t.message) is distinct from (excluded.state, excluded.code, excluded.message)
             returning id",
        )
        .bind(last.iter().map(|row| row.id.as_str()).collect::<Vec<_>>())
        .bind(last.iter().map(|row| row.is_approved()).collect::<Vec<_>>())
        .bind(last.iter().map(|row| row.code).collect::<Vec<_>>())
        .bind(last.iter().map(|row| row.message.as_deref()).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        let changed: HashSet<&str> = changed.iter().map(String::as_str).collect();
        Ok(rows.iter().map(|row| changed.contains(row.id.as_str())).collect())
    }
}
