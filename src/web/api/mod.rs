//! The admin API, `/api/v1`: look jobs up and act on them, with a token. The daemon stands behind the
//! port [`Backend`]; `model` is what goes out, `body` and `query` judge what comes in.

mod access;
mod accounts;
mod body;
mod jobs;
pub mod model;
mod openapi;
pub mod port;
mod publish;
mod query;
mod rejections;
mod reload;
mod replays;
mod suppressions;
pub mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};

use self::port::{Backend, Trouble};
use self::tokens::Tokens;
use super::problem::{Fault, Problem};

/// What the API's requests share.
#[derive(Clone)]
pub struct Api {
    /// The daemon.
    pub backend: Arc<dyn Backend>,
    /// Who may ask.
    pub tokens: Arc<Tokens>,
}

/// Everything under `/api/v1`. The token is looked at before anything else.
pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/jobs", get(jobs::list).post(publish::publish))
        .route("/jobs/cancel", get(jobs::show_cancel).post(jobs::cancel_many))
        .route("/jobs/resolve", get(jobs::show_resolve).post(jobs::resolve_many))
        .route("/jobs/{id}", get(jobs::show))
        .route("/jobs/{id}/cancel", post(jobs::cancel))
        .route("/jobs/{id}/resolve", post(jobs::resolve))
        .route("/replays", get(replays::list).post(replays::begin))
        .route("/replays/{id}", get(replays::show))
        .route("/replays/{id}/jobs", get(replays::jobs))
        .route("/replays/{id}/pause", post(replays::pause))
        .route("/replays/{id}/resume", post(replays::resume))
        .route("/replays/{id}/cancel", post(replays::cancel))
        .route("/accounts", get(accounts::list))
        .route("/accounts/{name}/pause", post(accounts::pause))
        .route("/accounts/{name}/resume", post(accounts::resume))
        .route("/rejections", get(rejections::list))
        .route("/rejections/retry", post(rejections::retry))
        .route("/suppressions", get(suppressions::list).post(suppressions::add))
        .route("/suppressions/remove", post(suppressions::remove))
        .route("/reload", post(reload::reload))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(api.clone(), access::admit))
        .layer(DefaultBodyLimit::max(body::MAX_BYTES))
        .with_state(api)
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here: see /api/v1/openapi.json for what there is")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method: the header `Allow` names it")
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unavailable(words) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, words),
            Trouble::Missing(words) => Problem::new(StatusCode::NOT_FOUND, words),
            Trouble::Conflict(words) => Problem::new(StatusCode::CONFLICT, words),
            Trouble::Unreadable(words) => Problem::new(StatusCode::BAD_REQUEST, words),
            Trouble::Invalid(words) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words),
            Trouble::Refused(faults) => refused(faults),
        }
    }
}

/// With a fault for each thing that is wrong with the configuration.
fn refused(faults: Vec<String>) -> Problem {
    let fault = |(index, detail)| Fault { index, reason: "configuration", detail };
    let words = "the configuration is not taken up: nothing was changed";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words).with(faults.into_iter().enumerate().map(fault).collect())
}
