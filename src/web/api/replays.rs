//! Replays: jobs that failed are sent again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;

use super::Api;
use super::access::{Named, Operator};
use super::body::{Body, Fields, invalid};
use super::model::{Acting, Looking, Reason, Replay, ReplayBegun, ReplayJobPage, ReplayOrder, ReplayPage};
use super::port::{Filter, ReplayAsked, Steer};
use super::tokens::Caller;
use super::{query, rejections};
use crate::domain::job::State as JobState;
use crate::domain::mobile::Mobile;
use crate::domain::rate::Rate;
use crate::domain::replay;
use crate::web::problem::Problem;

const FIELDS: [&str; 6] = ["filter", "dry_run", "rate", "canary", "expires_in", "reason"];
const RETRY_FIELDS: [&str; 6] = ["rejections", "again", "dry_run", "rate", "canary", "reason"];
const FILTERS: [&str; 7] = ["state", "code", "account", "mobile", "since", "until", "id"];
/// Ids of one request, at most.
const MAX_IDS: usize = 10_000;
/// The longest text of a filter, in characters.
const MAX_TEXT: usize = 200;

/// Send failed jobs again, or publish refused messages again, or see first what that would mean
///
/// The choice is frozen when it begins: what fails later does not join. Each job has a fresh budget of attempts. With
/// `rejections` in place of `filter`, refused messages are published again as they came, and judged anew.
#[utoipa::path(post, path = "/replays", tag = "replays",
    request_body = ReplayOrder,
    responses(
        (status = 200, body = ReplayBegun, description = "A dry run, or nothing was found"),
        (status = 201, body = ReplayBegun, description = "It has begun"),
        Acting,
    ))]
pub(super) async fn begin(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<(StatusCode, Json<ReplayBegun>), Problem> {
    let begun = match Fields::has(&body, "rejections") {
        true => begin_retry(&api, operator, &body).await?,
        false => {
            let mut fields = Fields::of(&body, &FIELDS)?;
            let asked = asked(&mut fields)?;
            api.backend.begin_replay(operator.act(fields.reason()?), asked).await?
        }
    };
    Ok((if begun.id.is_some() { StatusCode::CREATED } else { StatusCode::OK }, Json(begun)))
}

async fn begin_retry(api: &Api, operator: Operator, body: &[u8]) -> Result<ReplayBegun, Problem> {
    let mut fields = Fields::of(body, &RETRY_FIELDS)?;
    let asked = rejections::asked(&mut fields, "rejections")?;
    let begun = api.backend.retry(operator.act(fields.reason()?), asked).await?;
    Ok(ReplayBegun {
        id: begun.replay,
        dry_run: begun.dry_run,
        matched: begun.matched,
        past_expiry: 0,
        already: begun.already,
        parts: 0,
        oldest: begun.oldest,
        newest: begun.newest,
        by_code: BTreeMap::new(),
        by_account: BTreeMap::new(),
        by_reason: begun.by_reason,
    })
}

fn asked(fields: &mut Fields) -> Result<ReplayAsked, Problem> {
    let rate = fields.text("rate", MAX_TEXT)?.map_or(Ok(Rate::per_second(replay::RATE)), |text| Rate::parse(&text));
    let expires_in = fields.text("expires_in", MAX_TEXT)?.map(|text| replay::expires_in(&text)).transpose();
    let expires_in = expires_in.map_err(|problem| invalid(format!("`expires_in`: {problem}")))?;
    let mut filter = filter(fields)?;
    filter.states = replay::states(&filter.states, expires_in.is_some()).map_err(invalid)?;
    Ok(ReplayAsked {
        filter,
        dry_run: fields.boolean("dry_run")?.unwrap_or(false),
        rate: rate.map_err(|problem| invalid(format!("`rate`: {problem}")))?,
        canary: fields.count("canary", replay::MAX_CANARY)?.unwrap_or(0),
        expires_in,
    })
}

/// The field `filter`. Without a condition, it is more likely a mistake than a wish.
pub(super) fn filter(fields: &mut Fields) -> Result<Filter, Problem> {
    conditions(&mut fields.object("filter", &FILTERS)?)
}

fn conditions(fields: &mut Fields) -> Result<Filter, Problem> {
    if fields.is_empty() {
        return Err(invalid(format!("`filter` is empty: name which jobs by {}", FILTERS.join(", "))));
    }
    let state = |word: String| {
        JobState::parse(&word).ok_or_else(|| invalid("`filter.state` holds what is no state: write one such as failed"))
    };
    let time = |name: &str, text: Option<String>| {
        text.map(|text| query::time(&text).map_err(|problem| invalid(format!("`filter.{name}` {problem}")))).transpose()
    };
    let mobile = fields.text("mobile", MAX_TEXT)?.map(|text| Mobile::parse_any(&text)).transpose();
    Ok(Filter {
        ids: fields.texts("id", MAX_IDS)?,
        states: fields.texts("state", JobState::ALL.len())?.into_iter().map(state).collect::<Result<_, _>>()?,
        code: fields.number("code", "a whole number", Some)?,
        account: fields.text("account", MAX_TEXT)?,
        mobile: mobile.map_err(|problem| invalid(format!("`filter.mobile` {problem}")))?,
        since: time("since", fields.text("since", MAX_TEXT)?)?,
        until: time("until", fields.text("until", MAX_TEXT)?)?,
    })
}

/// Replays, the newest first, and how far they are
///
/// Here you find one whose beginning was not answered.
#[utoipa::path(get, path = "/replays", tag = "replays",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "Go on behind the page that gave this"),
    ),
    responses(
        (status = 200, body = ReplayPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
        Looking,
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    _: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<ReplayPage>, Problem> {
    let (limit, cursor) = query::numbered_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(api.backend.replays(limit, cursor).await?))
}

/// A replay and how far it is
#[utoipa::path(get, path = "/replays/{id}", tag = "replays",
    params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 200, body = Replay),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such replay"),
        Looking,
    ))]
pub(super) async fn show(State(api): State<Api>, _: Caller, Named(id): Named) -> Result<Json<Replay>, Problem> {
    Ok(Json(api.backend.replay(number(&id)?).await?))
}

/// The jobs of a replay and what came of each, in the order in which they go
#[utoipa::path(get, path = "/replays/{id}/jobs", tag = "replays",
    params(
        ("id" = i64, Path, description = "Its number"),
        ("result" = Option<String>, Query, description = "Those alone that came to it, such as `failed`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "Go on behind the page that gave this"),
    ),
    responses(
        (status = 200, body = ReplayJobPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such replay"),
        Looking,
    ))]
pub(super) async fn jobs(
    State(api): State<Api>,
    _: Caller,
    Named(id): Named,
    RawQuery(query): RawQuery,
) -> Result<Json<ReplayJobPage>, Problem> {
    let page = query::replay_page(query.as_deref().unwrap_or_default())?;
    Ok(Json(api.backend.replay_jobs(number(&id)?, page).await?))
}

/// Hold a replay back
#[utoipa::path(post, path = "/replays/{id}/pause", tag = "replays",
    params(("id" = i64, Path, description = "Its number")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = Replay),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such replay"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is not `running`"),
        Acting,
    ))]
pub(super) async fn pause(
    State(api): State<Api>,
    operator: Operator,
    Named(id): Named,
    Body(body): Body,
) -> Result<Json<Replay>, Problem> {
    steer(&api, operator, &id, &body, Steer::Pause).await
}

/// Let a replay go on, also past a canary that failed
#[utoipa::path(post, path = "/replays/{id}/resume", tag = "replays",
    params(("id" = i64, Path, description = "Its number")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = Replay),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such replay"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is not `paused`"),
        Acting,
    ))]
pub(super) async fn resume(
    State(api): State<Api>,
    operator: Operator,
    Named(id): Named,
    Body(body): Body,
) -> Result<Json<Replay>, Problem> {
    steer(&api, operator, &id, &body, Steer::Resume).await
}

/// End a replay; what it has sent stays sent
#[utoipa::path(post, path = "/replays/{id}/cancel", tag = "replays",
    params(("id" = i64, Path, description = "Its number")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = Replay),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such replay"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It has ended"),
        Acting,
    ))]
pub(super) async fn cancel(
    State(api): State<Api>,
    operator: Operator,
    Named(id): Named,
    Body(body): Body,
) -> Result<Json<Replay>, Problem> {
    steer(&api, operator, &id, &body, Steer::Cancel).await
}

async fn steer(api: &Api, operator: Operator, id: &str, body: &[u8], steer: Steer) -> Result<Json<Replay>, Problem> {
    let reason = Fields::of(body, &["reason"])?.reason()?;
    let id = number(id)?;
    api.backend.steer_replay(operator.act(reason), id, steer).await?;
    Ok(Json(api.backend.replay(id).await?))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, "there is no such replay: replays have numbers"))
}
