//! Jobs over HTTP: judged by the rules for messages, published all or none.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::value::RawValue;

use super::Api;
use super::access::Operator;
use super::body::{Body, invalid};
use super::model::{Acting, PostedJobs, Published};
use crate::domain::job::Job;
use crate::domain::message::{RejectReason, Rejection, Rules};
use crate::domain::posted::Posted;
use crate::web::problem::{Fault, Problem};

/// Jobs of one request, at most.
const MAX_JOBS: usize = 1_000;

/// Hand in a job, or up to 1,000 in an array: all or none
///
/// 202 means that RabbitMQ has confirmed all of them; what becomes of one says `GET /jobs/{id}`. After a 503 any may
/// or may not have arrived: send the same again, under the same ids.
#[utoipa::path(post, path = "/jobs", tag = "jobs",
    request_body(content = PostedJobs),
    responses(
        (status = 202, body = Published),
        Acting,
    ))]
pub(super) async fn publish(
    State(api): State<Api>,
    _: Operator,
    Body(body): Body,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let jobs = decode(&body, chrono::Utc::now().timestamp_millis(), &api.backend.rules())?;
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    api.backend.publish(jobs).await?;
    Ok((StatusCode::ACCEPTED, Json(Published { published: ids.len(), ids })))
}

/// Every job in the body, or why there are none.
fn decode(body: &[u8], now_ms: i64, rules: &Rules) -> Result<Vec<Job>, Problem> {
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    if !is_array {
        let job = judge(body, now_ms, rules).map_err(|refused| Problem::new(status(&refused), refused.detail))?;
        return Ok(vec![job]);
    }
    // The words of serde_json tell place and kind; they quote nothing of what is inside.
    let items: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is no valid JSON: {error}")))?;
    if items.is_empty() || items.len() > MAX_JOBS {
        return Err(invalid(format!("the array holds {} jobs: send 1 to {MAX_JOBS} at a time", items.len())));
    }
    let mut jobs = Vec::with_capacity(items.len());
    let mut faults = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match judge(item.get().as_bytes(), now_ms, rules) {
            Ok(job) => jobs.push(job),
            Err(refused) => faults.push(Fault { index, reason: refused.reason.as_str(), detail: refused.detail }),
        }
    }
    if faults.is_empty() {
        faults = conflicts(&jobs);
    }
    match faults.first() {
        None => Ok(jobs),
        Some(first) => {
            let detail = format!(
                "{} of {} jobs are refused, none was published; the first, at index {}: {}",
                faults.len(),
                items.len(),
                first.index,
                first.detail
            );
            Err(invalid(detail).with(faults))
        }
    }
}

fn judge(text: &[u8], now_ms: i64, rules: &Rules) -> Result<Job, Rejection> {
    Posted::read(text)?.decode(now_ms, rules)
}

/// What is no JSON at all is a matter of syntax.
fn status(refused: &Rejection) -> StatusCode {
    match refused.reason {
        RejectReason::BadJson => StatusCode::BAD_REQUEST,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Jobs with the id of an earlier one in the same array, and another payload.
fn conflicts(jobs: &[Job]) -> Vec<Fault> {
    let mut seen: HashMap<&str, [u8; 16]> = HashMap::with_capacity(jobs.len());
    let mut faults = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let digest = job.digest();
        if *seen.entry(&job.id).or_insert(digest) != digest {
            faults.push(Fault {
                index,
                reason: RejectReason::IdConflict.as_str(),
                detail: "`id` is that of an earlier job in the array with another payload: give each job its own"
                    .into(),
            });
        }
    }
    faults
}
