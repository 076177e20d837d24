//! A request to another listener, in the clear: our own `/metrics` and API. A connection a request; for the gateway,
//! which needs TLS and a pool, there is `gateway`.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::request::Builder;
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// For a whole request.
const LIMIT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Why there is no answer, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// GET: status and body. An answer takes 5 s at most.
///
/// # Errors
/// When there is no answer, or `url` is not `http://HOST…`.
pub async fn get(url: &Url) -> Result<(StatusCode, Bytes), NoAnswer> {
    within(LIMIT, exchange(url, Request::get("/"), Body::empty())).await
}

/// POST of a JSON text with a bearer token: status and body. An answer takes `limit` at most.
///
/// # Errors
/// When there is no answer, or `url` is not `http://HOST…`.
pub async fn post(url: &Url, token: &str, json: String, limit: Duration) -> Result<(StatusCode, Bytes), NoAnswer> {
    let request = Request::post("/").header(AUTHORIZATION, format!("Bearer {token}"));
    within(limit, exchange(url, request.header(CONTENT_TYPE, "application/json"), Body::from(json))).await
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(NoAnswer(format!("no answer within {} s", limit.as_secs()))),
    }
}

async fn exchange(url: &Url, request: Builder, body: Body) -> Result<(StatusCode, Bytes), NoAnswer> {
    let failed = |error: &dyn std::fmt::Display| NoAnswer(error.to_string());
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(NoAnswer("the URL must begin with http:// and name a host".into()));
    };
    let port = url.port_or_known_default().unwrap_or(80);
    // An IPv6 address stands in brackets in a URL, and without them in a socket address.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((name, port)).await.map_err(|error| failed(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // It ends with the request: sender and answer are dropped.
    tokio::spawn(connection);
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let request = request
        .uri(path)
        .header(HOST, format!("{host}:{port}"))
        .header(ACCEPT, "*/*")
        .body(body)
        .map_err(|error| failed(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await.map_err(|error| failed(&error))?;
    Ok((status, body))
}
