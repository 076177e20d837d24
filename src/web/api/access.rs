//! Who asks, and whether they may.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::port::Act;
use super::tokens::{Caller, Role};
use crate::web::problem::Problem;

/// Lets those pass who have a token, and notes who it is.
pub(super) async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match bearer(request.headers()).and_then(|token| api.tokens.caller(token)) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => {
            let detail = "the API needs a token: send `Authorization: Bearer …` with one that is configured under \
                 [admin.tokens.NAME]; without any configured token it answers nobody";
            Problem::new(StatusCode::UNAUTHORIZED, detail).into_response()
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl Caller {
    pub(super) fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        // Nothing gets here without one.
        caller.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "the API needs a token"))
    }
}

/// Somebody who may act.
pub(super) struct Operator(Caller);

impl Operator {
    /// Their act.
    pub fn act(self, reason: Option<String>) -> Act {
        Act { actor: self.0.name, reason }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        if caller.is_operator() { Ok(Operator(caller)) } else { Err(forbidden("this token only looks")) }
    }
}

/// A viewer asks for what only operators may.
pub(super) fn forbidden(what: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, format!("{what}: use one whose role is `operator`"))
}

/// The last part of an address that names something. A name that Postgres could not hold names nothing.
pub(super) struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        match named {
            Ok(Path(name)) if name.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Ok(Named(name)),
            _ => {
                Err(Problem::new(StatusCode::NOT_FOUND, "nothing has this name: names are printable ASCII characters"))
            }
        }
    }
}
