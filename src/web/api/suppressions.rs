//! Numbers that want no bulk messages: list, add, remove. Whole numbers stand in bodies only, never in an
//! address, which others log; and operators alone see them.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::Api;
use super::access::Operator;
use super::body::{Body, Fields, invalid};
use super::model::{Acting, Looking, SuppressionChange, SuppressionOrder, SuppressionPage};
use super::query;
use crate::domain::mobile::Mobile;
use crate::web::problem::Problem;

/// The longest number, in characters: `+86 138-0013-8000` and some more blanks.
const MAX_MOBILE: usize = 32;

/// Numbers that want no bulk messages, the one added last first
///
/// For operators. It is not recorded.
#[utoipa::path(get, path = "/suppressions", tag = "suppressions",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "Go on behind the page that gave this"),
    ),
    responses(
        (status = 200, body = SuppressionPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The token only looks"),
        Looking,
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    _: Operator,
    RawQuery(query): RawQuery,
) -> Result<Json<SuppressionPage>, Problem> {
    let (limit, cursor) = query::plain_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(api.backend.suppressions(limit, cursor).await?))
}

/// Send a number no bulk messages any more
#[utoipa::path(post, path = "/suppressions", tag = "suppressions",
    request_body = SuppressionOrder,
    responses(
        (status = 200, body = SuppressionChange),
        Acting,
    ))]
pub(super) async fn add(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<SuppressionChange>, Problem> {
    set_suppressed(&api, operator, &body, true).await
}

/// Let a number have bulk messages again
#[utoipa::path(post, path = "/suppressions/remove", tag = "suppressions",
    request_body = SuppressionOrder,
    responses(
        (status = 200, body = SuppressionChange),
        Acting,
    ))]
pub(super) async fn remove(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<SuppressionChange>, Problem> {
    set_suppressed(&api, operator, &body, false).await
}

async fn set_suppressed(
    api: &Api,
    operator: Operator,
    body: &[u8],
    suppressed: bool,
) -> Result<Json<SuppressionChange>, Problem> {
    let mut fields = Fields::of(body, &["mobile", "reason"])?;
    let mobile = fields.text("mobile", MAX_MOBILE)?.ok_or_else(|| invalid("`mobile` is missing: name the number"))?;
    let mobile = Mobile::parse_any(&mobile).map_err(|problem| invalid(format!("`mobile` {problem}")))?;
    let act = operator.act(fields.reason()?);
    let changed = api.backend.set_suppressed(act, mobile, suppressed).await?;
    Ok(Json(SuppressionChange { mobile: mobile.to_string(), suppressed, changed }))
}
