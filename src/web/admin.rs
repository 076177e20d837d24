//! The admin listener: `/healthz`, `/readyz`, `/metrics`, and the API under `/api/v1`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::api::{self, Api};
use super::connection::{self, Manners};
use super::problem::Problem;
use super::status::Status;

/// For the head of a request to come in, and for how long a connection may stay idle.
const IDLE: Duration = Duration::from_secs(30);

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Shared = Arc<dyn Status>;

/// Answers on `listener` until `shutdown` is ready; what is being answered then may finish, for a few
/// seconds.
pub async fn serve(listener: TcpListener, status: Arc<dyn Status>, api: Api, shutdown: impl Future) {
    let manners = Manners { welcome: |_| true, idle: IDLE };
    connection::serve(listener, routes(status, api), manners, shutdown).await;
}

fn routes(status: Shared, api: Api) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(status)
        .nest("/api/v1", api::routes(api))
}

/// The process lives.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(status): State<Shared>) -> Response {
    match status.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n").into_response(),
    }
}

async fn metrics(State(status): State<Shared>) -> Response {
    ([(CONTENT_TYPE, METRICS_TYPE)], status.metrics()).into_response()
}

async fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing here: see /healthz, /readyz, /metrics and /api/v1/openapi.json",
    )
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address is only read: use GET")
}
