//! The callback listener, where ihuyi posts receipts, replies and reviews of templates: `POST
//! /ihuyi/receipt/SECRET`, `/ihuyi/reply/SECRET` and `/ihuyi/template/SECRET`. Public, so it says as little as it can: whoever is not in the allow list
//! gets 403 whatever they ask, and a wrong secret is not told from a page that is not there.

mod fields;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::warn;

use super::connection::{self, Manners, Peer};
use crate::dispatch::inbox::{Inbox, NotKept};
use crate::domain::fields::Fields;

/// The longest body, in bytes: a push has a few hundred.
const MAX_BODY: usize = 16 * 1024;
/// For the head of a push to come in: the listener is public, and its places are few.
const IDLE: Duration = Duration::from_secs(5);
/// For the body to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds between two lines of the log about callers that are refused.
const SELDOM: i64 = 60;

/// Who may push, and to whom it goes.
pub struct Callbacks {
    inbox: Inbox,
    secret: SecretString,
    allow: Vec<IpNet>,
    warned_at: AtomicI64,
}

impl Callbacks {
    /// With `secret` as the last part of the URLs; only from `allow`, unless that is empty.
    pub fn new(inbox: Inbox, secret: SecretString, allow: Vec<IpNet>) -> Self {
        Callbacks { inbox, secret, allow, warned_at: AtomicI64::new(i64::MIN) }
    }

    fn allows(&self, peer: IpAddr) -> bool {
        // A dual-stack socket shows 203.0.113.7 as ::ffff:203.0.113.7.
        let peer = peer.to_canonical();
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&peer))
    }

    /// In constant time; the secret's length is none.
    fn knows(&self, given: &str) -> bool {
        self.secret.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// Tells the operator, but not once for each of a thousand guesses.
    fn complain(&self, peer: IpAddr, reason: &str) {
        let now = chrono::Utc::now().timestamp();
        let last = self.warned_at.load(Ordering::Relaxed);
        let turn = || self.warned_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now >= last.saturating_add(SELDOM) && turn() {
            warn!(%peer, reason, "a caller of the callback listener was refused; others are not told for a minute");
        }
    }
}

/// Answers on `listener` until `shutdown` is ready; what is being answered then may finish, for a few
/// seconds.
pub async fn serve_callbacks(listener: TcpListener, callbacks: Callbacks, shutdown: impl Future) {
    let callbacks = Arc::new(callbacks);
    let manners = Manners { welcome: |peer| callbacks.allows(peer), idle: IDLE };
    connection::serve(listener, routes(callbacks.clone()), manners, shutdown).await;
}

fn routes(callbacks: Arc<Callbacks>) -> Router {
    Router::new()
        .route("/ihuyi/receipt/{secret}", post(receipt))
        .route("/ihuyi/reply/{secret}", post(reply))
        .route("/ihuyi/template/{secret}", post(template))
        .fallback(nothing)
        .layer(from_fn_with_state(callbacks.clone(), only_allowed))
        .with_state(callbacks)
}

type Secret = Result<Path<String>, PathRejection>;

async fn receipt(State(callbacks): State<Arc<Callbacks>>, secret: Secret, request: Request) -> Response {
    match read(&callbacks, secret, request).await {
        Ok(fields) => answer(callbacks.inbox.receipt(&fields).await),
        Err(refused) => refused,
    }
}

async fn reply(State(callbacks): State<Arc<Callbacks>>, secret: Secret, request: Request) -> Response {
    match read(&callbacks, secret, request).await {
        Ok(fields) => answer(callbacks.inbox.reply(&fields, chrono::Utc::now()).await),
        Err(refused) => refused,
    }
}

async fn template(State(callbacks): State<Arc<Callbacks>>, secret: Secret, request: Request) -> Response {
    match read(&callbacks, secret, request).await {
        Ok(fields) => answer(callbacks.inbox.review(&fields).await),
        Err(refused) => refused,
    }
}

/// Before anything else is looked at, so that it says nothing about the secret.
async fn only_allowed(
    State(callbacks): State<Arc<Callbacks>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if callbacks.allows(peer) {
        return next.run(request).await;
    }
    callbacks.complain(peer, "it is not in callbacks.allow");
    (StatusCode::FORBIDDEN, "forbidden\n").into_response()
}

async fn nothing() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is nothing here\n")
}

/// The fields of a push by somebody who knows the secret; the body is not read for others.
async fn read(callbacks: &Callbacks, secret: Secret, request: Request) -> Result<Fields, Response> {
    let peer = request.extensions().get::<Peer>().copied();
    if !secret.is_ok_and(|Path(given)| callbacks.knows(&given)) {
        if let Some(Peer(peer)) = peer {
            callbacks.complain(peer, "its secret is wrong");
        }
        return Err(nothing().await.into_response());
    }
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 16 KiB\n").into_response();
    let (head, body) = request.into_parts();
    if declared(&head.headers).is_some_and(|length| length > MAX_BODY) {
        return Err(too_large());
    }
    let body: Body = body;
    let bytes = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response()),
    };
    Ok(fields::read(head.uri.query(), &bytes))
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn answer(kept: Result<(), NotKept>) -> Response {
    match kept {
        // These seven letters, and nothing else: else ihuyi pushes again.
        Ok(()) => "success".into_response(),
        Err(NotKept::Bad(bad)) => (StatusCode::BAD_REQUEST, format!("{bad}\n")).into_response(),
        Err(later @ NotKept::Later) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "60")], format!("{later}\n")).into_response()
        }
        Err(refused @ NotKept::Refused) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{refused}\n")).into_response(),
    }
}
