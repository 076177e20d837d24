//! Accounts: list, pause, resume.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::access::{Named, Operator};
use super::body::{Body, Fields};
use super::model::{AccountChange, AccountList, Acting, Looking, Reason};
use super::tokens::Caller;
use crate::web::problem::Problem;

/// All accounts and why the paused ones are paused
#[utoipa::path(get, path = "/accounts", tag = "accounts",
    responses(
        (status = 200, body = AccountList),
        Looking,
    ))]
pub(super) async fn list(State(api): State<Api>, _: Caller) -> Result<Json<AccountList>, Problem> {
    Ok(Json(api.backend.accounts().await?))
}

/// Stop submitting by an account until it is resumed
#[utoipa::path(post, path = "/accounts/{name}/pause", tag = "accounts",
    params(("name" = String, Path, description = "The account's name in the configuration")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = AccountChange),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such account"),
        Acting,
    ))]
pub(super) async fn pause(
    State(api): State<Api>,
    operator: Operator,
    Named(name): Named,
    Body(body): Body,
) -> Result<Json<AccountChange>, Problem> {
    set_paused(&api, operator, name, &body, true).await
}

/// End an account's pause, whoever began it
#[utoipa::path(post, path = "/accounts/{name}/resume", tag = "accounts",
    params(("name" = String, Path, description = "The account's name in the configuration")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = AccountChange),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such account"),
        Acting,
    ))]
pub(super) async fn resume(
    State(api): State<Api>,
    operator: Operator,
    Named(name): Named,
    Body(body): Body,
) -> Result<Json<AccountChange>, Problem> {
    set_paused(&api, operator, name, &body, false).await
}

async fn set_paused(
    api: &Api,
    operator: Operator,
    name: String,
    body: &[u8],
    paused: bool,
) -> Result<Json<AccountChange>, Problem> {
    let reason = Fields::of(body, &["reason"])?.reason()?;
    let changed = api.backend.set_paused(operator.act(reason), name.clone(), paused).await?;
    Ok(Json(AccountChange { name, state: if paused { "paused" } else { "active" }, changed }))
}
