//! The HTTP side: one request, one reply, and an honest word about what is not known.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Request, Response, StatusCode, Url};

use super::latch::{Latch, LatchedBody};
use super::options::{ClientError, ClientOptions, Credentials, Format, Method};
use super::reply::{self, Added, Balance};
use super::request;
use crate::dispatch::ports::Submitted;
use crate::domain::job::Payload;
use crate::domain::mobile::Mobile;
use crate::domain::verdict::Reply;
use crate::domain::wire::beside;

/// Idle connections are closed after this: below the keep-alive of common servers, because a
/// request on a connection that the server is closing ends as unknown.
const IDLE: Duration = Duration::from_secs(15);
/// The longest reason, in characters.
const MAX_REASON: usize = 200;

/// A client of the gateway: a connection pool, shared by all accounts. Clones share the pool.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    submit_url: Url,
    balance_url: Url,
    template_url: Option<Url>,
    method: Method,
    format: Format,
}

/// Why there is no body to read.
enum Failure {
    NotSent(String),
    Unknown(String),
}

impl Client {
    /// A client for `options`; nothing is connected yet.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        crate::tls::install();
        let submit_url = parse_url("gateway.submit_url", &options.submit_url, "Submit")?;
        let balance_url = parse_url("gateway.balance_url", &options.balance_url, "GetNum")?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("dispatcher/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(options.max_idle)
            .connect_timeout(options.connect_timeout)
            .timeout(options.timeout);
        if submit_url.scheme() == "http" && balance_url.scheme() == "http" {
            // No TLS, so no certificates: a machine without any can use a simulator.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|e| ClientError::Setup(root_cause(&e)))?;
        let template_url = beside(&submit_url, "AddTemplate");
        let (method, format) = (options.method, options.format);
        Ok(Client { http, submit_url, balance_url, template_url, method, format })
    }

    /// Submits one message, once. `unix_seconds` must be the present time: it is part of the
    /// dynamic password. The future should be run to its end: dropped before, it leaves open
    /// whether the message was taken.
    pub async fn submit(
        &self,
        credentials: &Credentials,
        mobile: Mobile,
        payload: &Payload,
        unix_seconds: i64,
    ) -> Submitted {
        let form = request::submit(credentials, mobile, payload, unix_seconds, self.format);
        let latch = Latch::default();
        let reply = match self.exchange(&self.submit_url, form, &latch).await {
            Ok(body) => match reply::submit(&body) {
                Ok(answer) => Reply::Answer(answer),
                Err(problem) => Reply::Unknown(problem.into()),
            },
            Err(Failure::NotSent(reason)) => Reply::NotSent(reason),
            Err(Failure::Unknown(reason)) => Reply::Unknown(reason),
        };
        Submitted { reply, left_at: latch.left_at() }
    }

    /// Asks how many messages the account has left.
    pub async fn balance(&self, credentials: &Credentials, unix_seconds: i64) -> Balance {
        let form = request::balance(credentials, unix_seconds, self.format);
        match self.exchange(&self.balance_url, form, &Latch::default()).await {
            Ok(body) => reply::balance(&body).unwrap_or_else(|problem| Balance::Unavailable(problem.into())),
            Err(Failure::NotSent(reason) | Failure::Unknown(reason)) => Balance::Unavailable(reason),
        }
    }

    /// Registers a template, at the address beside that of submissions.
    pub async fn add_template(&self, credentials: &Credentials, text: &str, unix_seconds: i64) -> Added {
        let Some(url) = &self.template_url else {
            return Added::Unavailable("gateway.submit_url names no method: there is none beside it".into());
        };
        let form = request::template(credentials, text, unix_seconds, self.format);
        match self.exchange(url, form, &Latch::default()).await {
            Ok(body) => reply::added(&body).unwrap_or_else(|problem| Added::Unavailable(problem.into())),
            Err(Failure::NotSent(reason) | Failure::Unknown(reason)) => Added::Unavailable(reason),
        }
    }

    /// Sends `form` and reads the whole reply.
    async fn exchange(&self, url: &Url, form: String, latch: &Latch) -> Result<Bytes, Failure> {
        let request = self.request(url, form, latch.clone());
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) if latch.close() => return Err(Failure::NotSent(reason(&error))),
            Err(error) => return Err(Failure::Unknown(reason(&error))),
        };
        if response.status() != StatusCode::OK {
            return Err(Failure::Unknown(format!("HTTP status {}", response.status().as_u16())));
        }
        read(response).await
    }

    fn request(&self, url: &Url, form: String, latch: Latch) -> Request {
        let mut url = url.clone();
        let (method, data) = match self.method {
            Method::Post => (reqwest::Method::POST, Bytes::from(form)),
            Method::Get => {
                let query = match url.query() {
                    Some(query) if !query.is_empty() => format!("{query}&{form}"),
                    _ => form,
                };
                url.set_query(Some(&query));
                (reqwest::Method::GET, Bytes::new())
            }
        };
        let mut request = Request::new(method, url);
        if self.method == Method::Post {
            // With any other type ihuyi does not see the body and answers 401.
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, form);
        }
        *request.body_mut() = Some(reqwest::Body::wrap(LatchedBody::new(latch, data)));
        request
    }
}

/// The body of a reply, at most [`reply::MAX_BODY`]. Usually one chunk, which is not copied.
async fn read(mut response: Response) -> Result<Bytes, Failure> {
    let mut body = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Unknown(reason(&error)))? {
        if body.len() + more.len() + chunk.len() > reply::MAX_BODY {
            return Err(Failure::Unknown(format!("the reply is longer than {} KiB", reply::MAX_BODY / 1024)));
        }
        if body.is_empty() {
            body = chunk;
        } else {
            more.extend_from_slice(&chunk);
        }
    }
    if more.is_empty() { Ok(body) } else { Ok([&body[..], &more].concat().into()) }
}

fn parse_url(key: &'static str, text: &str, method: &'static str) -> Result<Url, ClientError> {
    let bad = |problem: String| ClientError::Url { key, problem, method };
    let url = Url::parse(text).map_err(|e| bad(e.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(bad(format!("`{other}` is no scheme for it"))),
    }
}

/// What went wrong, fit for a log: the step and the last cause. reqwest's own words hold the URL,
/// and with GET the URL holds the password, the number and the text.
fn reason(error: &reqwest::Error) -> String {
    let step = if error.is_connect() {
        "could not connect"
    } else if error.is_timeout() {
        return "timed out".into();
    } else if error.is_body() || error.is_decode() {
        "the reply broke off"
    } else {
        "the exchange failed"
    };
    format!("{step}: {}", root_cause(error))
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(next) = cause.and_then(Error::source) {
        cause = Some(next);
    }
    cause.map_or_else(|| "unknown cause".into(), |cause| cause.to_string().chars().take(MAX_REASON).collect())
}
