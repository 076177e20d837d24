use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::api::port::{
    Act, Answer, Backend, ManyAsked, PageOf, RefusedPage, ReplayAsked, ReplayPage, RetryAsked, Steer, Trouble,
};
use super::api::tokens::{Caller, Role, TokenEntry, Tokens};
use super::api::{Api, model};
use super::{Status, serve};
use crate::domain::job::{Job, OnUnknown};
use crate::domain::message::{MAX_METADATA, Rules};
use crate::domain::mobile::Mobile;

#[derive(Default)]
struct Fake {
    broken: AtomicBool,
}

impl Status for Fake {
    fn ready(&self) -> Result<(), Vec<String>> {
        match self.broken.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(vec!["RabbitMQ is unreachable".into(), "Postgres is unreachable".into()]),
        }
    }

    fn metrics(&self) -> String {
        "dispatcher_rabbitmq_connected 1\n".into()
    }
}

/// A daemon that takes everything and has nothing.
struct Empty(Arc<Rules>);

impl Backend for Empty {
    fn rules(&self) -> Arc<Rules> {
        self.0.clone()
    }

    fn publish(&self, _: Vec<Job>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn jobs(&self, _: PageOf) -> Answer<'_, model::JobPage> {
        Box::pin(async { Ok(model::JobPage { jobs: Vec::new(), next_cursor: None }) })
    }

    fn job(&self, _: String, _: bool) -> Answer<'_, model::WholeJob> {
        Box::pin(async { Err(Trouble::Missing("no such job".into())) })
    }

    fn note_search(&self, _: Act, _: Mobile, _: usize) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn cancel(&self, _: Act, _: String) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn resolve(&self, _: Act, _: String, _: bool, _: Option<String>) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn act_on_many(&self, _: Act, asked: ManyAsked) -> Answer<'_, model::ActedOn> {
        let dry_run = asked.dry_run;
        Box::pin(async move { Ok(model::ActedOn { dry_run, matched: 0, by_state: [].into(), changed: 0, left: 0 }) })
    }

    fn begin_replay(&self, _: Act, _: ReplayAsked) -> Answer<'_, model::ReplayBegun> {
        Box::pin(async { Err(Trouble::Conflict("not here".into())) })
    }

    fn replays(&self, _: u32, _: Option<i64>) -> Answer<'_, model::ReplayPage> {
        Box::pin(async { Ok(model::ReplayPage { replays: Vec::new(), next_cursor: None }) })
    }

    fn replay(&self, _: i64) -> Answer<'_, model::Replay> {
        Box::pin(async { Err(Trouble::Missing("no such replay".into())) })
    }

    fn replay_jobs(&self, _: i64, _: ReplayPage) -> Answer<'_, model::ReplayJobPage> {
        Box::pin(async { Err(Trouble::Missing("no such replay".into())) })
    }

    fn steer_replay(&self, _: Act, _: i64, _: Steer) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn rejections(&self, _: RefusedPage) -> Answer<'_, model::RejectionPage> {
        Box::pin(async { Ok(model::RejectionPage { rejections: Vec::new(), next_cursor: None }) })
    }

    fn retry(&self, _: Act, _: RetryAsked) -> Answer<'_, model::Retried> {
        Box::pin(async { Err(Trouble::Unavailable("not here".into())) })
    }

    fn suppressions(&self, _: u32, _: Option<String>) -> Answer<'_, model::SuppressionPage> {
        Box::pin(async { Ok(model::SuppressionPage { suppressions: Vec::new(), next_cursor: None }) })
    }

    fn set_suppressed(&self, _: Act, _: Mobile, _: bool) -> Answer<'_, bool> {
        Box::pin(async { Ok(true) })
    }

    fn accounts(&self) -> Answer<'_, model::AccountList> {
        Box::pin(async { Ok(model::AccountList { accounts: Vec::new() }) })
    }

    fn set_paused(&self, _: Act, _: String, _: bool) -> Answer<'_, bool> {
        Box::pin(async { Ok(true) })
    }

    fn reload(&self, _: Act) -> Answer<'_, Vec<String>> {
        Box::pin(async { Err(Trouble::Refused(vec!["one".into(), "two".into()])) })
    }
}

fn api() -> Api {
    let rules = Rules {
        content_max: 300,
        default_account: "main".into(),
        accounts: ["main".to_owned()].into(),
        on_unknown: OnUnknown::Hold,
        checks: Default::default(),
        templates: Default::default(),
    };
    let entry = |name: &str, role| TokenEntry {
        caller: Caller { name: name.into(), role },
        secret: format!("{name}-token").into(),
        file: None,
    };
    let tokens = Tokens::new(vec![entry("look", Role::Viewer), entry("act", Role::Operator)]);
    Api { backend: Arc::new(Empty(Arc::new(rules))), tokens: Arc::new(tokens) }
}

struct Listener {
    address: std::net::SocketAddr,
    status: Arc<Fake>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listener {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let status = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, status.clone(), api(), stopped));
        Listener { address, status, stop, task }
    }

    /// The whole response, headers included.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let listener = Listener::start().await;
    let health = listener.get("/healthz").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("\r\n\r\nok\n"), "{health}");
    let ready = listener.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");
    let metrics = listener.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.ends_with("dispatcher_rabbitmq_connected 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_daemon_that_is_not_ready_says_why() {
    let listener = Listener::start().await;
    listener.status.broken.store(true, Ordering::Relaxed);
    let ready = listener.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.ends_with("\r\n\r\nRabbitMQ is unreachable\nPostgres is unreachable\n"), "{ready}");
    assert!(listener.get("/healthz").await.starts_with("HTTP/1.1 200"), "it lives all the same");
}

#[tokio::test]
async fn errors_are_problem_details() {
    let listener = Listener::start().await;
    for (request, status) in [
        ("GET /api/v1/jobs", 401),
        ("POST /api/v1/jobs", 401),
        ("GET /api/v1", 401),
        ("GET /", 404),
        ("GET /api/v2/jobs", 404),
        ("POST /metrics", 405),
    ] {
        let response = listener.send(&format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {response}");
        assert!(response.contains("content-type: application/problem+json"), "{response}");
        let body: serde_json::Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["status"], status);
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert_eq!(response.contains("www-authenticate: Bearer"), status == 401);
    }
}

#[tokio::test]
async fn an_api_call_is_refused_for_what_is_wrong_with_it() {
    let listener = Listener::start().await;
    let json = "content-type: application/json\r\n";
    for (call, token, headers, body, status) in [
        ("GET /api/v1/jobs", "look-token", "", "", 200),
        ("GET /api/v1/jobs", "Look-token", "", "", 401),
        ("GET /api/v1/nothing", "", "", "", 401),
        ("GET /api/v1/nothing", "look-token", "", "", 404),
        ("GET /api/v1", "look-token", "", "", 404),
        ("DELETE /api/v1/jobs", "act-token", "", "", 405),
        ("GET /api/v1/jobs/a%2Fb", "look-token", "", "", 404),
        ("GET /api/v1/jobs/%00", "look-token", "", "", 404),
        ("GET /api/v1/jobs/%FF", "look-token", "", "", 404),
        ("GET /api/v1/jobs?nothing=1", "look-token", "", "", 400),
        ("GET /api/v1/jobs?mobile=13800138000", "look-token", "", "", 403),
        ("GET /api/v1/jobs?mobile=13800138000", "act-token", "", "", 200),
        ("GET /api/v1/suppressions", "look-token", "", "", 403),
        ("GET /api/v1/suppressions?limit=9", "act-token", "", "", 200),
        ("GET /api/v1/suppressions?state=failed", "act-token", "", "", 400),
        ("POST /api/v1/suppressions", "act-token", json, "{\"mobile\":\"+86 13800138000\",\"reason\":\"x\"}", 200),
        ("POST /api/v1/suppressions", "act-token", json, "{\"mobile\":\"12345\"}", 422),
        ("POST /api/v1/suppressions", "act-token", json, "{}", 422),
        ("POST /api/v1/suppressions/remove", "look-token", json, "{\"mobile\":\"13800138000\"}", 403),
        ("POST /api/v1/accounts/main/pause", "look-token", "", "", 403),
        ("POST /api/v1/accounts/main/pause", "act-token", "", "", 200),
        ("POST /api/v1/accounts/main/pause", "act-token", json, "{\"reason\":\"x\"}", 200),
        ("POST /api/v1/accounts/main/pause", "act-token", json, "{\"reason\":7}", 422),
        ("POST /api/v1/accounts/main/pause", "act-token", json, "{\"why\":\"x\"}", 422),
        ("POST /api/v1/accounts/main/pause", "act-token", json, "{\"reason\":\"x\"", 400),
        ("POST /api/v1/accounts/main/pause", "act-token", json, "[]", 422),
        ("POST /api/v1/accounts/main/pause", "act-token", "", "{}", 415),
        ("POST /api/v1/jobs/x/resolve", "act-token", json, "{}", 422),
        ("POST /api/v1/jobs/x/resolve", "act-token", json, "{\"sent\":false,\"smsid\":\"1\"}", 422),
        ("POST /api/v1/jobs/cancel", "look-token", json, "{\"filter\":{\"code\":1}}", 403),
        ("POST /api/v1/jobs/cancel", "act-token", json, "{\"filter\":{\"code\":1},\"dry_run\":true}", 200),
        ("POST /api/v1/jobs/cancel", "act-token", json, "{\"filter\":{}}", 422),
        ("POST /api/v1/jobs/cancel", "act-token", json, "{}", 422),
        ("POST /api/v1/jobs/cancel", "act-token", json, "{\"filter\":{\"code\":1},\"sent\":true}", 422),
        ("GET /api/v1/jobs/cancel", "look-token", "", "", 404),
        ("POST /api/v1/jobs/resolve", "act-token", json, "{\"filter\":{\"code\":1}}", 422),
        ("POST /api/v1/jobs/resolve", "act-token", json, "{\"filter\":{\"account\":\"a\"},\"sent\":false}", 200),
        ("GET /api/v1/jobs/resolve", "look-token", "", "", 404),
        ("POST /api/v1/replays", "act-token", json, "{}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"rejections\":{}}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"rejections\":{\"id\":[1]},\"filter\":{\"code\":1}}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"rejections\":{\"id\":[1]},\"rate\":\"fast\"}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"filter\":{\"code\":4.5}}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"filter\":{\"code\":1},\"rate\":\"fast\"}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"filter\":{\"state\":\"accepted\"}}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"filter\":{\"state\":[\"expired\"]}}", 422),
        ("POST /api/v1/replays", "act-token", json, "{\"filter\":{\"id\":[\"a\"],\"code\":4030}}", 409),
        ("GET /api/v1/replays/seven", "look-token", "", "", 404),
        ("GET /api/v1/rejections?reason=bad_json&limit=2", "look-token", "", "", 200),
        ("GET /api/v1/rejections?reason=ugly", "look-token", "", "", 400),
        ("POST /api/v1/rejections/retry", "look-token", json, "{\"filter\":{\"id\":[1]}}", 403),
        ("POST /api/v1/rejections/retry", "act-token", json, "{\"filter\":{\"id\":[1]}}", 503),
        ("POST /api/v1/rejections/retry", "act-token", json, "{\"filter\":{\"id\":[1.5]}}", 422),
        ("POST /api/v1/rejections/retry", "act-token", json, "{\"filter\":{}}", 422),
        ("POST /api/v1/reload", "look-token", "", "", 403),
        ("POST /api/v1/reload", "act-token", "", "", 422),
        ("POST /api/v1/jobs", "act-token", json, "", 400),
        ("POST /api/v1/jobs", "act-token", json, "[]", 422),
        ("POST /api/v1/jobs", "act-token", json, "[1]", 422),
        ("POST /api/v1/jobs", "look-token", json, "{}", 403),
    ] {
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        let response = listener.send(&request).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{call} {body}: {response}");
        let is_problem = response.contains("content-type: application/problem+json");
        assert_eq!(is_problem, status >= 400, "{response}");
        assert_eq!(response.contains("\r\nallow: "), status == 405, "{response}");
    }
}

#[tokio::test]
async fn a_thousand_jobs_that_are_as_large_as_they_may_be_are_taken() {
    let listener = Listener::start().await;
    let (content, metadata) = ("\\ud842\\udfb7".repeat(300), "v".repeat(MAX_METADATA - r#"{"k":""}"#.len()));
    let job = |n: usize| {
        let id = format!("{n:0128}");
        format!(r#"{{"id":"{id}","mobile":"13800138000","content":"{content}","metadata":{{"k":"{metadata}"}}}}"#)
    };
    let body = format!("[{}]", (0..1_000).map(job).collect::<Vec<_>>().join(",\n"));
    let length = body.len();
    let request = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer act-token\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let response = listener.send(&request).await;
    assert!(response.starts_with("HTTP/1.1 202"), "{length}: {}", &response[..response.len().min(1_000)]);
    assert!(response.contains("\"published\":1000"), "all of them");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let listener = Listener::start().await;
    let head = "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer act-token\r\n\
                content-type: application/json\r\ncontent-length: 8388609\r\n\r\n";
    let response = listener.send(head).await;
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    assert!(response.contains("application/problem+json"), "{response}");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let listener = Listener::start().await;
    let response = listener.send(&format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(20_000))).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_its_request_is_let_go() {
    let listener = Listener::start().await;
    let mut stream = TcpStream::connect(listener.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let mut response = String::new();
    // The paused clock runs on while everybody waits.
    stream.read_to_string(&mut response).await.unwrap();
    assert!(!response.contains("200"), "{response}");
}

#[tokio::test]
async fn it_stops_although_a_connection_is_idle() {
    let listener = Listener::start().await;
    let mut idle = TcpStream::connect(listener.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    listener.stop.send(()).unwrap();
    listener.task.await.unwrap();
}
