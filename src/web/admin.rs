//! The admin listener: `/healthz`, `/readyz`, `/metrics`.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;

use super::connection;
use super::problem::Problem;
use super::status::Status;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Shared = Arc<dyn Status>;

/// Answers on `listener` until `shutdown` is ready; what is being answered then may finish, for a few
/// seconds.
pub async fn serve(listener: TcpListener, status: Arc<dyn Status>, shutdown: impl Future) {
    connection::serve(listener, routes(status), shutdown).await;
}

fn routes(status: Shared) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1", any(api))
        .route("/api/v1/{*rest}", any(api))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(status)
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

async fn api() -> Problem {
    let detail = "the API needs a token: send `Authorization: Bearer …` with one that is configured under \
         [admin.tokens.NAME]; without any configured token it answers nobody";
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here: see /healthz, /readyz and /metrics")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address is only read: use GET")
}
