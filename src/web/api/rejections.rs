//! Messages that were refused: look them up, publish them again.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use tokio::time::{Instant, sleep};

use super::Api;
use super::access::Operator;
use super::body::{Body, Fields, invalid};
use super::model::{Acting, Looking, RejectionPage, Retried, RetryOrder};
use super::port::{Refused, RetryAsked};
use super::query;
use super::tokens::Caller;
use crate::domain::message::RejectReason;
use crate::domain::rate::Rate;
use crate::domain::replay;
use crate::web::problem::Problem;

const FILTERS: [&str; 4] = ["id", "reason", "since", "until"];
/// Numbers of one request, at most.
const MAX_IDS: usize = 10_000;
/// The longest text of a filter, in characters.
const MAX_TEXT: usize = 200;
/// For a retry to be through. What is left then goes on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(100);
/// Results of what was published, and of what is still to be.
const PUBLISHED: [&str; 3] = ["sent", "taken", "refused"];
const LEFT: [&str; 2] = ["pending", "sending"];

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
/// They are published by a replay, whose number is in the answer: it is paced, and goes on by itself after a crash. The
/// answer waits some seconds for it; what is `left` then goes on. What was published again before is left out. Each
/// message is judged anew; a job that was taken meanwhile is recognised by its id.
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
    let mut fields = Fields::of(&body, &["filter", "dry_run", "again", "rate", "canary", "reason"])?;
    let asked = asked(&mut fields, "filter")?;
    let mut retried = api.backend.retry(operator.act(fields.reason()?), asked).await?;
    let patience = Instant::now() + PATIENCE;
    while let Some(id) = retried.replay.filter(|_| retried.left > 0 && Instant::now() < patience) {
        sleep(LOOK).await;
        // It goes on also where it cannot be looked at.
        let Ok(replay) = api.backend.replay(id).await else { break };
        let count = |words: &[&str]| words.iter().filter_map(|word| replay.results.get(*word)).sum::<i64>();
        (retried.published, retried.left) = (count(&PUBLISHED), count(&LEFT));
        if replay.state != "running" {
            break;
        }
    }
    Ok(Json(retried))
}

/// Which messages, in the field `filter`, and how they are to be published.
pub(super) fn asked(fields: &mut Fields, filter: &'static str) -> Result<RetryAsked, Problem> {
    let rate = fields.text("rate", MAX_TEXT)?.map_or(Ok(Rate::per_second(replay::RATE)), |text| Rate::parse(&text));
    Ok(RetryAsked {
        filter: refused(&mut fields.object(filter, &FILTERS)?, filter)?,
        again: fields.boolean("again")?.unwrap_or(false),
        dry_run: fields.boolean("dry_run")?.unwrap_or(false),
        rate: rate.map_err(|problem| invalid(format!("`rate`: {problem}")))?,
        canary: fields.count("canary", replay::MAX_CANARY)?.unwrap_or(0),
    })
}

fn refused(fields: &mut Fields, place: &str) -> Result<Refused, Problem> {
    if fields.is_empty() {
        return Err(invalid(format!("`{place}` is empty: name which messages by {}", FILTERS.join(", "))));
    }
    let time = |name: &str, text: Option<String>| {
        let read = text.map(|text| query::time(&text)).transpose();
        read.map_err(|problem| invalid(format!("`{place}.{name}` {problem}")))
    };
    let reason = |word: String| {
        RejectReason::parse(&word)
            .ok_or_else(|| invalid(format!("`{place}.reason` is none: use one of {}", query::reasons())))
    };
    Ok(Refused {
        ids: fields.numbers("id", MAX_IDS)?,
        reason: fields.text("reason", MAX_TEXT)?.map(reason).transpose()?,
        since: time("since", fields.text("since", MAX_TEXT)?)?,
        until: time("until", fields.text("until", MAX_TEXT)?)?,
    })
}
