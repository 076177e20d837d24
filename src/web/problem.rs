//! Errors as problem details (RFC 9457).

use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// An error as a client sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// The status in words.
    title: &'static str,
    /// What is wrong, and how to mend it.
    detail: String,
    /// Where several things were handed in: what is wrong with each of those that were refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

/// What is wrong with one of several things.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fault {
    /// Its place, from 0.
    pub index: usize,
    /// A word for programs.
    pub reason: &'static str,
    /// The field, the problem and the cure.
    pub detail: String,
}

impl Problem {
    /// A problem of that status; `detail` says what is wrong and how to mend it.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem { status, title, detail: detail.into(), errors: Vec::new() }
    }

    /// With what is wrong with each.
    pub fn with(self, errors: Vec<Fault>) -> Self {
        Problem { errors, ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"dispatcher\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
