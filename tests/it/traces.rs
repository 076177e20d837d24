//! Traces: spans of a publisher's trace at a collector, over real HTTP.

use std::sync::{Arc, Mutex};

use dispatcher::simulator::Scripted;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::broker::Message;
use crate::support::process::free_address;
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// One field of a protobuf message: its number, and its value as bytes or as a number.
enum Field<'a> {
    Bytes(u64, &'a [u8]),
    Number(u64, u64),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a whole varint");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        found.push(match key & 7 {
            0 => Field::Number(key >> 3, varint(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_first_chunk::<8>().expect("eight bytes");
                bytes = rest;
                Field::Number(key >> 3, u64::from_le_bytes(*value))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(key >> 3, value)
            }
            other => panic!("wire type {other} is not used"),
        });
    }
    found
}

/// Every message at a path of field numbers.
fn at<'a>(bytes: &'a [u8], path: &[u64]) -> Vec<&'a [u8]> {
    let Some((first, rest)) = path.split_first() else { return vec![bytes] };
    let inner = fields(bytes).into_iter().filter_map(|field| match field {
        Field::Bytes(number, value) if number == *first => Some(value),
        _ => None,
    });
    inner.flat_map(|value| at(value, rest)).collect()
}

fn number_at(bytes: &[u8], wanted: u64) -> u64 {
    let found = fields(bytes).into_iter().find_map(|field| match field {
        Field::Number(number, value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Debug)]
struct Seen {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    begun: u64,
    ended: u64,
    attributes: Vec<(String, String)>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn seen(span: &[u8]) -> Seen {
    let one = |field| at(span, &[field]).first().map(|bytes| bytes.to_vec()).unwrap_or_default();
    let attribute = |bytes: &&[u8]| {
        let value = at(bytes, &[2])[0];
        let value = at(value, &[1]).first().map_or_else(|| number_at(value, 3).to_string(), |value| text(value));
        (text(at(bytes, &[1])[0]), value)
    };
    Seen {
        trace: hex(&one(1)),
        id: hex(&one(2)),
        parent: hex(&one(4)),
        name: text(&one(5)),
        kind: number_at(span, 6),
        begun: number_at(span, 7),
        ended: number_at(span, 8),
        attributes: at(span, &[9]).iter().map(attribute).collect(),
    }
}

/// A collector: takes whatever is posted to `/v1/traces`.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<u8>>>, Arc<Mutex<Vec<Seen>>>);

impl Collector {
    async fn start() -> (Collector, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Collector::default();
        let own = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.take(stream).await;
            }
        });
        (collector, format!("http://{address}"))
    }

    async fn take(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let (head, length) = loop {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole request");
            let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
            let head = text(&bytes[..end]).to_lowercase();
            let length: usize = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            break (head, end + 4 + length);
        };
        while bytes.len() < length {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole body");
        }
        assert!(head.starts_with("post /v1/traces http/1.1") && head.contains("application/x-protobuf"), "{head}");
        let body = &bytes[head.len() + 4..length];
        self.0.lock().unwrap().extend(body);
        self.1.lock().unwrap().extend(at(body, &[1, 2, 2]).into_iter().map(seen));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
    }

    fn spans(&self) -> Vec<Seen> {
        self.1.lock().unwrap().clone()
    }
}

fn traced(id: &str, n: usize, flags: &str) -> Message {
    Message::job("high", &job(id, &number(n))).with_header("traceparent", &format!("00-{TRACE}-{PARENT}-{flags}"))
}

#[tokio::test]
async fn a_job_leaves_the_spans_of_its_way_in_its_publishers_trace() {
    let (collector, endpoint) = Collector::start().await;
    let mut stage = Stage::new().await;
    stage.set("telemetry.otlp_endpoint", &endpoint);
    stage.start().await;
    stage.gateway.script(&number(2), vec![Scripted::Code(4030, "no".into())]);
    stage.publish("high", [&job("untraced", &number(3))]).await;
    stage.broker.publish(&[traced("one", 1, "01"), traced("two", 2, "01"), traced("unsampled", 4, "00")]).await;
    stage.states("accepted 3, failed 1").await;
    let spans = eventually("the spans of two jobs", async || match collector.spans() {
        spans if spans.len() >= 10 => Ok(spans),
        spans => Err(spans),
    })
    .await;
    stage.finish().await;
    assert_eq!(collector.spans().len(), 10, "of the others there are none: {spans:?}");
    for (id, code, outcome) in [("one", "2", "accepted"), ("two", "4030", "permanent")] {
        let has = |span: &Seen, key: &str, value: &str| span.attributes.contains(&(key.to_owned(), value.to_owned()));
        let own: Vec<&Seen> = spans.iter().filter(|span| has(span, "dispatcher.job", id)).collect();
        let names: Vec<&str> = own.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["wait for limiter", "claim", "submit", "record", "receive"]);
        let root = own[4];
        assert_eq!((root.parent.as_str(), root.kind), (PARENT, 5));
        for span in &own {
            assert_eq!(span.trace, TRACE);
            assert!(
                span.id.len() == 16 && span.begun > 1_500_000_000_000_000_000 && span.begun <= span.ended,
                "{span:?}"
            );
            assert!(has(span, "dispatcher.account", "main"), "{span:?}");
            assert!(span.begun >= root.begun && span.ended <= root.ended, "{span:?} in {root:?}");
        }
        assert!(own[..4].iter().all(|span| span.parent == root.id));
        assert!(own[2].kind == 3 && has(own[2], "dispatcher.code", code), "{own:?}");
        assert!(has(own[3], "dispatcher.outcome", outcome) && has(root, "dispatcher.outcome", outcome), "{own:?}");
    }
    let posted = String::from_utf8_lossy(&collector.0.lock().unwrap().clone()).into_owned();
    assert!(!posted.contains(&number(1)) && !posted.contains("验证码"), "neither number nor text");
    assert!(posted.contains("service.name"), "{posted}");
}

#[tokio::test]
async fn a_collector_that_is_gone_disturbs_nothing_and_what_waits_leaves_at_the_end() {
    let mut stage = Stage::new().await;
    let nobody = free_address();
    stage.set("telemetry.otlp_endpoint", &format!("http://{nobody}"));
    stage.start().await;
    let messages: Vec<Message> = (0..50).map(|n| traced(&format!("job-{n}"), n, "01")).collect();
    stage.broker.publish(&messages).await;
    stage.states("accepted 50").await;
    stage.stop().await;
    // One that comes just before the end leaves before it.
    let (collector, endpoint) = Collector::start().await;
    stage.set("telemetry.otlp_endpoint", &endpoint);
    stage.start().await;
    stage.broker.publish(&[traced("last", 60, "01")]).await;
    stage.states("accepted 51").await;
    stage.stop().await;
    becomes("its spans", 5, async || collector.spans().len()).await;
    stage.finish().await;
}

#[tokio::test]
async fn log_lines_about_a_traced_job_name_its_trace() {
    let mut stage = Stage::new().await;
    stage.set("log.format", "json");
    stage.set("gateway.submit_url", &format!("http://{}/webservice/sms.php?method=Submit", free_address()));
    stage.migrate().await;
    let process = stage.process();
    process.ready().await;
    // That it cannot be reached is said once, on the way of the first job.
    stage.broker.publish(&[traced("one", 1, "01")]).await;
    eventually("a line with the trace", async || {
        let log = process.log();
        if log.contains(&format!("\"trace_id\":\"{TRACE}\"")) { Ok(()) } else { Err(log) }
    })
    .await;
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    stage.finish_with_backlog().await;
}
