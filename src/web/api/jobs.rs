//! Jobs: look them up, withdraw them, end their doubts.

use axum::Json;
use axum::extract::{RawQuery, State};

use super::Api;
use super::access::{Named, Operator, forbidden};
use super::body::{Body, Fields, invalid};
use super::model::{ActedOn, Acting, CancelOrder, JobPage, Looking, Reason, Resolution, ResolveOrder, WholeJob};
use super::port::{Act, Many, ManyAsked};
use super::tokens::Caller;
use super::{query, replays};
use crate::domain::receipt::{MAX_SMSID, is_smsid};
use crate::web::problem::Problem;

/// Jobs, the one that changed last first
///
/// Numbers and texts are masked for viewers, who cannot search by number. An operator's search by number is
/// recorded. What changes between two pages moves to the front; nothing comes twice.
#[utoipa::path(get, path = "/jobs", tag = "jobs",
    params(
        ("state" = Option<String>, Query, description = "In one of these states, separated by commas"),
        ("code" = Option<i64>, Query, description = "With this last code of the gateway"),
        ("account" = Option<String>, Query, description = "Of this account"),
        ("mobile" = Option<String>, Query, description = "To this number; operators only"),
        ("since" = Option<String>, Query, description = "Last changed then (RFC 3339) or later"),
        ("until" = Option<String>, Query, description = "Last changed before (RFC 3339)"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "How many; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "Go on behind the page that gave this"),
    ),
    responses(
        (status = 200, body = JobPage),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "A parameter is wrong"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "A viewer searches by number"),
        Looking,
    ))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<JobPage>, Problem> {
    let asked = query::page(query.as_deref().unwrap_or_default())?;
    let mobile = asked.filter.mobile;
    if mobile.is_some() && !caller.is_operator() {
        return Err(forbidden("this token cannot search by number"));
    }
    let mut page = api.backend.jobs(asked).await?;
    if let Some(mobile) = mobile {
        // What cannot be noted is not shown.
        let act = Act { actor: caller.name.clone(), reason: None };
        api.backend.note_search(act, mobile, page.jobs.len()).await?;
    }
    if !caller.is_operator() {
        page.jobs.iter_mut().for_each(|job| job.facts.mask());
    }
    Ok(Json(page))
}

/// A job, every request that was made for it, its receipts, replies and replays, and its story
///
/// Numbers and texts are masked for viewers. `story` is what happened in order; `next` says why it waits, until when and
/// behind how many, and what somebody can do.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, body = WholeJob),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
        Looking,
    ))]
pub(super) async fn show(State(api): State<Api>, caller: Caller, Named(id): Named) -> Result<Json<WholeJob>, Problem> {
    Ok(Json(api.backend.job(id, caller.is_operator()).await?))
}

/// Withdraw a job that has not been sent
#[utoipa::path(post, path = "/jobs/{id}/cancel", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    request_body(content = Option<Reason>, description = "May be left out"),
    responses(
        (status = 200, body = WholeJob, description = "It is `cancelled`"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is neither `waiting` nor `queued`"),
        Acting,
    ))]
pub(super) async fn cancel(
    State(api): State<Api>,
    operator: Operator,
    Named(id): Named,
    Body(body): Body,
) -> Result<Json<WholeJob>, Problem> {
    let reason = Fields::of(&body, &["reason"])?.reason()?;
    api.backend.cancel(operator.act(reason), id.clone()).await?;
    Ok(Json(api.backend.job(id, true).await?))
}

/// End a doubt
///
/// `sent`: ihuyi took the message, as its console says; the job is `accepted`. Not sent: the job waits and is due now.
#[utoipa::path(post, path = "/jobs/{id}/resolve", tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    request_body = Resolution,
    responses(
        (status = 200, body = WholeJob, description = "It is `accepted`, or `waiting` and due now"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such job"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is not `in_doubt`, or the `smsid` is another job's"),
        Acting,
    ))]
pub(super) async fn resolve(
    State(api): State<Api>,
    operator: Operator,
    Named(id): Named,
    Body(body): Body,
) -> Result<Json<WholeJob>, Problem> {
    let mut fields = Fields::of(&body, &["sent", "smsid", "reason"])?;
    let Some(sent) = fields.boolean("sent")? else {
        return Err(sent_is_missing());
    };
    let smsid = fields.text("smsid", MAX_SMSID)?;
    if smsid.as_ref().is_some_and(|smsid| !is_smsid(smsid)) {
        return Err(invalid("`smsid` is none: copy ihuyi's id of the message, or leave it out"));
    }
    if smsid.is_some() && !sent {
        return Err(invalid("`smsid` belongs to a message that was sent: leave it out, or write `\"sent\": true`"));
    }
    let act = operator.act(fields.reason()?);
    api.backend.resolve(act, id.clone(), sent, smsid).await?;
    Ok(Json(api.backend.job(id, true).await?))
}

/// Withdraw jobs that have not been sent, by a filter
///
/// 10,000 at most, the first that came first: repeat the request while some are `left`. What is neither `waiting` nor
/// `queued` is not chosen.
#[utoipa::path(post, path = "/jobs/cancel", tag = "jobs",
    request_body = CancelOrder,
    responses(
        (status = 200, body = ActedOn),
        Acting,
    ))]
pub(super) async fn cancel_many(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<ActedOn>, Problem> {
    many(&api, operator, Fields::of(&body, &["filter", "dry_run", "reason"])?, Many::Cancel).await
}

/// End doubts, by a filter
///
/// As for a single job, but without an `smsid`. 10,000 at most, the first that came first: repeat the request while some
/// are `left`. Only jobs that are `in_doubt` are chosen.
#[utoipa::path(post, path = "/jobs/resolve", tag = "jobs",
    request_body = ResolveOrder,
    responses(
        (status = 200, body = ActedOn),
        Acting,
    ))]
pub(super) async fn resolve_many(
    State(api): State<Api>,
    operator: Operator,
    Body(body): Body,
) -> Result<Json<ActedOn>, Problem> {
    let mut fields = Fields::of(&body, &["filter", "sent", "dry_run", "reason"])?;
    let what = match fields.boolean("sent")? {
        Some(true) => Many::Sent,
        Some(false) => Many::NotSent,
        None => return Err(sent_is_missing()),
    };
    many(&api, operator, fields, what).await
}

async fn many(api: &Api, operator: Operator, mut fields: Fields<'_>, what: Many) -> Result<Json<ActedOn>, Problem> {
    let filter = replays::filter(&mut fields)?;
    let dry_run = fields.boolean("dry_run")?.unwrap_or(false);
    let act = operator.act(fields.reason()?);
    Ok(Json(api.backend.act_on_many(act, ManyAsked { what, filter, dry_run }).await?))
}

/// The job that has the name of an act for its id.
pub(super) async fn show_cancel(api: State<Api>, caller: Caller) -> Result<Json<WholeJob>, Problem> {
    show(api, caller, Named("cancel".into())).await
}

/// See [`show_cancel`].
pub(super) async fn show_resolve(api: State<Api>, caller: Caller) -> Result<Json<WholeJob>, Problem> {
    show(api, caller, Named("resolve".into())).await
}

fn sent_is_missing() -> Problem {
    invalid("`sent` is missing: write true if ihuyi took the message, false if it did not")
}
