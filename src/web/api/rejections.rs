//! Messages that were refused: look them up, publish them again.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::Api;
use super::access::Operator;
use super::body::{Body, Fields, invalid};
use super::model::{Acting, Looking, RejectionPage, Retried, RetryOrder};
use super::port::{Refused, RetryAsked};
use super::query;
use super::tokens::Caller;
use crate::domain::message::RejectReason;
use crate::web::problem::Problem;

const FILTERS: [&str; 4] = ["id", "reason", "since", "until"];
/// Numbers of one request, at most.
const MAX_IDS: usize = 10_000;
/// The longest text of a filter, in characters.
const MAX_TEXT: usize = 200;

/// Messages that were refused, the newest first
#[utoipa::path(get, path = "/rejections", tag = "rejections",
    params(
        ("reason" = Option<String>, Query, description = "Refused for this reason"),
        ("since" = Option<String>, Query, description = "Received then (RFC 3339) or later"),
        ("until" = Option<String>, Query, description = "Received before (RFC 3339)"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "Go on behind the page that gave this"),
    ),
    responses(
        (status = 200, body = RejectionPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
        Looking,
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<RejectionPage>, Problem> {
    let page = query::refused_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(api.backend.rejections(page).await?))
}

/// Publish refused messages again as they were received, or see first which
///
/// 1,000 at most, the oldest first: repeat the request while some are `left`. What was published again before is left
/// out. Each message is judged anew; a job that was taken meanwhile is recognised by its id.
#[utoipa::path(post, path = "/rejections/retry", tag = "rejections",
    request_body = RetryOrder,
    responses(
        (status = 200, body = Retried),
        Acting,
    ))]
pub(super) async fn retry(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<Retried>, Problem> {
    let mut fields = Fields::of(&body, &["filter", "dry_run", "again", "reason"])?;
    let asked = RetryAsked {
        filter: filter(&mut fields.object("filter", &FILTERS)?)?,
        again: fields.boolean("again")?.unwrap_or(false),
        dry_run: fields.boolean("dry_run")?.unwrap_or(false),
    };
    Ok(Json(api.backend.retry(operator.act(fields.reason()?), asked).await?))
}

fn filter(fields: &mut Fields) -> Result<Refused, Problem> {
    if fields.is_empty() {
        return Err(invalid(format!("`filter` is empty: name which messages by {}", FILTERS.join(", "))));
    }
    let time = |name: &str, text: Option<String>| {
        text.map(|text| query::time(&text).map_err(|problem| invalid(format!("`filter.{name}` {problem}")))).transpose()
    };
    let reason = |word: String| {
        RejectReason::parse(&word)
            .ok_or_else(|| invalid(format!("`filter.reason` is none: use one of {}", query::reasons())))
    };
    Ok(Refused {
        ids: fields.numbers("id", MAX_IDS)?,
        reason: fields.text("reason", MAX_TEXT)?.map(reason).transpose()?,
        since: time("since", fields.text("since", MAX_TEXT)?)?,
        until: time("until", fields.text("until", MAX_TEXT)?)?,
    })
}
