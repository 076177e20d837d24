//! Pushes to the customer: receipts, replies and reviews, each tried up to three times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, FixedOffset};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

use super::http;

/// Pushes under way at a time, and so connections, to one URL.
const PUSHES_AT_ONCE: usize = 32;
/// How long a push may take before it counts as refused; not published.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer larger than this is no `success`.
const ANSWER_MAX: usize = 16 * 1024;
/// Asia/Shanghai has been UTC+8 without daylight saving since 1991.
const SHANGHAI_OFFSET: i32 = 8 * 3600;

/// How a try of a push ended, for the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Answered `success`.
    Taken,
    /// Will be tried again.
    Refused,
    /// Was the last try.
    GivenUp,
}

/// The entrance to one URL's queue of pushes.
#[derive(Debug, Clone)]
pub struct Pusher {
    queue: mpsc::UnboundedSender<Push>,
}

impl Pusher {
    /// Pushes the form `body` after `delay`.
    pub fn push(&self, delay: Duration, body: String) {
        // The receiver only goes when the simulator stops; then nothing is pushed any more.
        let _ = self.queue.send(Push { due: Instant::now() + delay, tries: 0, body });
    }
}

/// A pusher and the queue that [`run`] works off.
pub fn channel() -> (Pusher, mpsc::UnboundedReceiver<Push>) {
    let (queue, pushes) = mpsc::unbounded_channel();
    (Pusher { queue }, pushes)
}

/// One form on its way; ordered by when it is due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Push {
    due: Instant,
    tries: usize,
    body: String,
}

/// Where pushes go.
#[derive(Debug, Clone)]
pub struct Target {
    address: String,
    host: String,
    path: String,
}

impl Target {
    /// Reads a `http://` URL.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let url = Url::parse(url).context("the push URL is malformed")?;
        ensure!(url.scheme() == "http", "the push URL must begin with http://");
        let Some(name) = url.host_str() else { bail!("the push URL names no host") };
        let port = url.port().unwrap_or(80);
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            address: format!("{name}:{port}"),
            host: format!("{name}:{port}"),
            path: format!("{}{query}", url.path()),
        })
    }
}

/// Works off a queue until it is dropped by its caller's cancellation.
pub async fn run(
    target: Target,
    mut pushes: mpsc::UnboundedReceiver<Push>,
    retries: Vec<Duration>,
    report: impl Fn(Tried) + Clone + Send + Sync + 'static,
) {
    let courier = Arc::new(Courier { target, idle: Mutex::new(Vec::new()), permits: Semaphore::new(PUSHES_AT_ONCE) });
    let (again, mut refused) = mpsc::unbounded_channel();
    let mut waiting = BinaryHeap::new();
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        let due = waiting.peek().map_or_else(far_future, |Reverse(push): &Reverse<Push>| push.due);
        tokio::select! {
            Some(push) = pushes.recv() => waiting.push(Reverse(push)),
            Some(push) = refused.recv() => waiting.push(Reverse(push)),
            Some(_) = under_way.join_next() => {}
            () = tokio::time::sleep_until(due) => {
                let Some(Reverse(push)) = waiting.pop() else { continue };
                let (courier, again, report, retries) =
                    (Arc::clone(&courier), again.clone(), report.clone(), retries.clone());
                under_way.spawn(async move {
                    if let Some(push) = courier.attempt(push, &retries, report).await {
                        let _ = again.send(push);
                    }
                });
            }
        }
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Delivers to one URL over connections kept alive.
#[derive(Debug)]
struct Courier {
    target: Target,
    idle: Mutex<Vec<TcpStream>>,
    permits: Semaphore,
}

impl Courier {
    /// Tries once; gives the push back where it is to be tried again.
    async fn attempt(&self, mut push: Push, retries: &[Duration], report: impl Fn(Tried)) -> Option<Push> {
        let _permit = self.permits.acquire().await;
        let posted = tokio::time::timeout(PUSH_TIMEOUT, self.post(&push.body)).await;
        if posted.is_ok_and(|posted| posted.unwrap_or(false)) {
            report(Tried::Taken);
            return None;
        }
        let Some(wait) = retries.get(push.tries) else {
            report(Tried::GivenUp);
            return None;
        };
        report(Tried::Refused);
        push.due = Instant::now() + *wait;
        push.tries += 1;
        Some(push)
    }

    /// Whether the customer answered `success`. An idle connection may have died meanwhile, so a failure
    /// on one is repeated on a fresh one.
    async fn post(&self, body: &str) -> anyhow::Result<bool> {
        if let Some(stream) = self.take_idle()
            && let Ok(success) = self.post_on(stream, body).await
        {
            return Ok(success);
        }
        let stream = TcpStream::connect(&self.target.address).await?;
        stream.set_nodelay(true)?;
        self.post_on(stream, body).await
    }

    async fn post_on(&self, mut stream: TcpStream, body: &str) -> anyhow::Result<bool> {
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.target.path,
            self.target.host,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let answer = read_answer(&mut stream).await?;
        if answer.keep_alive {
            self.idle().push(stream);
        }
        Ok(answer.status == 200 && answer.body == b"success")
    }

    fn take_idle(&self) -> Option<TcpStream> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct CustomerAnswer {
    status: u16,
    body: Vec<u8>,
    keep_alive: bool,
}

async fn read_answer(stream: &mut TcpStream) -> anyhow::Result<CustomerAnswer> {
    let mut buffer = Vec::new();
    loop {
        let ended = stream.read_buf(&mut buffer).await? == 0;
        if let Some(answer) = parse_answer(&buffer, ended)? {
            return Ok(answer);
        }
        ensure!(!ended, "the answer was cut off");
        ensure!(buffer.len() <= ANSWER_MAX, "the answer is too long");
    }
}

/// The answer once it is complete: by length, by chunks, or by the end of the stream.
fn parse_answer(buffer: &[u8], ended: bool) -> anyhow::Result<Option<CustomerAnswer>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(buffer)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value.trim_ascii())
    };
    let wire = &buffer[length..];
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        http::join_chunks(wire).ok().flatten().map(|(body, _)| body)
    } else if let Some(declared) = header("content-length") {
        let declared: usize = std::str::from_utf8(declared)?.parse()?;
        wire.get(..declared).map(<[u8]>::to_vec)
    } else {
        ended.then(|| wire.to_vec())
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    let status = head.code.unwrap_or_default();
    Ok(body.map(|body| CustomerAnswer { status, body, keep_alive: !ended && !closes }))
}

/// The form of a delivery receipt; `at` is the time since the Unix epoch. The words are not published.
pub fn receipt_form(code: i64, mobile: &str, smsid: &str, at: Duration) -> String {
    let msg = if code == super::codes::ACCEPTED { "发送成功" } else { "发送失败" };
    Serializer::new(String::new())
        .append_pair("code", &code.to_string())
        .append_pair("msg", msg)
        .append_pair("mobilephone", mobile)
        .append_pair("smsid", smsid)
        .append_pair("report_time", &shanghai_time(at))
        .finish()
}

/// The form of a person's reply.
pub fn reply_form(mobile: &str, content: &str, smsid: &str, at: Duration) -> String {
    Serializer::new(String::new())
        .append_pair("mobilephone", mobile)
        .append_pair("content", content)
        .append_pair("smsid", smsid)
        .append_pair("reply_time", &shanghai_time(at))
        .finish()
}

/// The form of a template's review. The words are not published.
pub fn review_form(approved: bool, templateid: &str) -> String {
    let (code, msg) = if approved { ("2", "审核通过") } else { ("0", "审核不通过") };
    Serializer::new(String::new())
        .append_pair("code", code)
        .append_pair("msg", msg)
        .append_pair("templateid", templateid)
        .finish()
}

/// `YYYY-MM-DD HH:MM:SS` in Asia/Shanghai.
fn shanghai_time(at: Duration) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or_default();
    let utc = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    match FixedOffset::east_opt(SHANGHAI_OFFSET) {
        Some(shanghai) => utc.with_timezone(&shanghai).format("%Y-%m-%d %H:%M:%S").to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_a_form_with_shanghai_time() {
        let form = receipt_form(2, "13800138000", "17954495980000000001", Duration::from_secs(1_795_449_598));
        assert_eq!(
            form,
            "code=2&msg=%E5%8F%91%E9%80%81%E6%88%90%E5%8A%9F&mobilephone=13800138000\
             &smsid=17954495980000000001&report_time=2026-11-23+23%3A59%3A58"
        );
    }

    #[test]
    fn an_answer_ends_by_length_chunks_or_the_stream() {
        let body = |wire: &str, ended| {
            parse_answer(wire.as_bytes(), ended).unwrap().map(|answer| (answer.body, answer.keep_alive))
        };
        let success = |keep_alive| Some((b"success".to_vec(), keep_alive));
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsuccess", false), success(true));
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nsucc", false), None);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nsuccess\r\n0\r\n\r\n";
        assert_eq!(body(chunked, false), success(true));
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nsuccess", false), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nsuccess", true), success(false));
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nsuccess", false),
            success(false)
        );
    }

    #[test]
    fn a_target_is_a_plain_http_url() {
        let target = Target::parse("http://127.0.0.1:9465/ihuyi/receipt/s3cret?x=1").unwrap();
        assert_eq!((target.address.as_str(), target.path.as_str()), ("127.0.0.1:9465", "/ihuyi/receipt/s3cret?x=1"));
        assert!(Target::parse("https://example.com/").is_err());
    }
}
