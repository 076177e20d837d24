//! The READMEs say what is so: the Python example runs as printed, and nothing that they list is missing.
//!
//! Needs a RabbitMQ (`AMQP_URL`) and a python3 with pika; `make test` provides both.

use std::process::Output;
use std::time::Duration;

use dispatcher::dispatch::metrics::Metrics;
use dispatcher::domain::codes::{self, CodeTable};
use dispatcher::domain::event::{self, Event};
use dispatcher::domain::job::{OnUnknown, Priority};
use dispatcher::domain::message::{self, Properties, RejectReason, Rules};
use dispatcher::domain::template::{Template, Templates, VARIABLE_MAX};
use lapin::message::BasicGetMessage;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{amqp_url, eventually, unique_name};

const READMES: [(&str, &str); 2] =
    [("README.md", include_str!("../../README.md")), ("README.zh-CN.md", include_str!("../../README.zh-CN.md"))];
const EXAMPLES: [&str; 6] = ["listen.py", "publish.py", "Publish.java", "publish.php", "publish.mjs", "publish.go"];
/// What the example publishes to, quotes included.
const EXCHANGE: &str = "\"sms.jobs\"";
/// The example takes well under a second; a broker that does not answer must not hang the test.
const LIMIT: Duration = Duration::from_secs(60);

/// The code block behind `<!-- example: NAME -->`.
fn example<'a>((file, text): (&str, &'a str), name: &str) -> &'a str {
    let marker = format!("<!-- example: {name} -->");
    let (_, rest) = text.split_once(&marker).unwrap_or_else(|| panic!("{file} has no {marker}"));
    let block = rest.trim_start().strip_prefix("```").and_then(|rest| rest.split_once('\n'));
    let (_, code) = block.unwrap_or_else(|| panic!("{file}: no code block follows {marker}"));
    code.split_once("\n```").unwrap_or_else(|| panic!("{file}: the code block of {marker} does not end")).0
}

#[test]
fn both_readmes_show_the_same_examples() {
    for name in EXAMPLES {
        assert_eq!(example(READMES[0], name), example(READMES[1], name), "{name}");
    }
}

#[tokio::test]
async fn the_python_example_publishes_a_valid_job() {
    let url = std::env::var("AMQP_URL").expect("AMQP_URL is not set: run `make test`, or export a broker's URL");
    let python = python().await;
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("RabbitMQ at AMQP_URL");
    let channel = connection.create_channel().await.unwrap();
    let exchange = format!("readme-{}.jobs", std::process::id());
    let queue = declare(&channel, &exchange).await;
    let code = example(READMES[0], "publish.py");
    assert_eq!(code.matches(EXCHANGE).count(), 1, "the example names the exchange once");
    let ran = run(python, &code.replace(EXCHANGE, &format!("{exchange:?}"))).await;
    assert!(ran.status.success(), "publish.py failed:\n{}", String::from_utf8_lossy(&ran.stderr));
    // It has waited for the broker's confirm, so the message is there.
    let got = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap();
    check(&got.expect("publish.py left no message in the queue"));
    // The queue is exclusive and the exchange goes with its last binding.
    connection.close(200, "bye".into()).await.unwrap();
}

/// A topic exchange and a queue on all of it; both vanish with the connection.
async fn declare(channel: &Channel, exchange: &str) -> String {
    let passing = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, passing, FieldTable::default()).await.unwrap();
    let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
    let (queue, bind) = (queue.name().as_str().to_owned(), QueueBindOptions::default());
    channel.queue_bind(queue.as_str().into(), exchange.into(), "#".into(), bind, FieldTable::default()).await.unwrap();
    queue
}

/// The message is what the README promises: valid, persistent, with an id and the time of publishing.
fn check(got: &BasicGetMessage) {
    let properties = &got.delivery.properties;
    let headers = properties.headers().as_ref().expect("the message has no headers");
    let Some(AMQPValue::LongLongInt(published_ms)) = headers.inner().get("x-published-ms") else {
        panic!("x-published-ms is no 64-bit integer: {headers:?}");
    };
    let described = Properties {
        message_id: properties.message_id().as_ref().map(|id| id.as_str().to_owned()),
        routing_key: got.delivery.routing_key.as_str().to_owned(),
        timestamp_ms: Some(*published_ms),
        traceparent: None,
    };
    let job = message::decode(&got.delivery.data, &described, &rules()).expect("publish.py publishes a valid job");
    assert_eq!(Some(job.id), described.message_id);
    assert_eq!(job.priority, Priority::Normal);
    let age = chrono::Utc::now() - job.published_at.expect("a time of publishing");
    assert!((0..60).contains(&age.num_seconds()), "{age}");
    assert_eq!((properties.delivery_mode(), got.delivery.redelivered), (&Some(2), false));
    assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some("application/json"));
}

fn rules() -> Rules {
    Rules {
        content_max: 300,
        default_account: "main".into(),
        accounts: ["main".to_owned()].into(),
        on_unknown: OnUnknown::Hold,
        checks: Default::default(),
        templates: Default::default(),
    }
}

#[tokio::test]
async fn the_python_consumer_drops_repeats() {
    let python = python().await;
    let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let (exchange, queue) = (unique_name(), unique_name());
    let passing = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
    channel
        .exchange_declare(exchange.as_str().into(), ExchangeKind::Topic, passing, FieldTable::default())
        .await
        .unwrap();
    let code = example(READMES[0], "listen.py")
        .replace("\"sms.events\"", &format!("{exchange:?}"))
        .replace("\"orders.sms\"", &format!("{queue:?}"));
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(python)
        .args(["-c", &code])
        .env("AMQP_URL", amqp_url())
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let event = |number: i64| Event {
        number,
        kind: "job.accepted".into(),
        job_id: Some(format!("order-{number}")),
        at: chrono::Utc::now(),
        data: format!("{{\"id\": \"order-{number}\", \"code\": 2, \"metadata\": {{\"n\": {number}}}}}"),
    };
    let (first, second) = (event(1), event(2));
    // Until it has bound its queue, nobody takes what is published.
    eventually("it listens", async || publish(&channel, &exchange, &first).await).await;
    for event in [&first, &second, &first, &second] {
        publish(&channel, &exchange, event).await.unwrap();
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in [1, 2] {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("listen.py says nothing").unwrap();
        assert_eq!(line, Some(format!("job.accepted order-{n} 2 {{'n': {n}}}")));
    }
    publish(&channel, &exchange, &event(3)).await.unwrap();
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
    assert!(line.as_ref().is_some_and(|line| line.contains("order-3")), "a repeat was not dropped: {line:?}");
    child.kill().await.unwrap();
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    connection.close(200, "bye".into()).await.unwrap();
}

/// As the daemon does; an error where no queue takes it.
async fn publish(channel: &Channel, exchange: &str, event: &Event) -> Result<(), &'static str> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let body = event.envelope("/dispatcher/test").unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let (exchange, key) = (exchange.into(), event.kind.as_str().into());
    let sent = channel.basic_publish(exchange, key, options, &body, BasicProperties::default()).await.unwrap();
    if sent.await.unwrap() == Confirmation::Ack(None) { Ok(()) } else { Err("nobody listens") }
}

/// A python3 that has pika: the first in the path, or Debian's.
async fn python() -> &'static str {
    for python in ["python3", "/usr/bin/python3"] {
        if find(python).await {
            return python;
        }
    }
    panic!("no python3 with pika here: `apt-get install -y python3-pika` (or `pip install pika`), then run this again")
}

async fn find(python: &str) -> bool {
    let asked = Command::new(python).args(["-c", "import pika"]).output().await;
    asked.is_ok_and(|asked| asked.status.success())
}

async fn run(python: &str, code: &str) -> Output {
    let ran = Command::new(python).args(["-c", code]).kill_on_drop(true).output();
    tokio::time::timeout(LIMIT, ran).await.expect("publish.py does not end").expect("python3 starts")
}

/// `name` in backticks.
fn quoted(name: &str) -> String {
    format!("`{name}`")
}

#[test]
fn both_readmes_list_every_key_of_the_sample() {
    for (file, text) in READMES {
        for path in keys(include_str!("../../dispatcher.toml")) {
            assert!(text.contains(&quoted(&path)), "{file} does not explain {path}");
        }
    }
}

/// The paths of the keys in the sample, commented ones included; the name of a thing becomes `NAME`.
fn keys(sample: &str) -> Vec<String> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in sample.lines() {
        let line = line.trim_start_matches('#');
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.")
                .replace(".main.", ".NAME.")
                .replace(".alice.", ".NAME.")
                .replace(".order_shipped.", ".NAME.");
            continue;
        }
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        // Keys of [codes] are codes: they have a table of their own.
        if is_key {
            found.push(format!("{table}{key}"));
        }
    }
    assert!(found.len() > 30, "the sample is not read right: {found:?}");
    found
}

#[test]
fn both_readmes_list_every_metric() {
    let names = metrics();
    for (file, text) in READMES {
        for name in &names {
            assert!(text.contains(&quoted(name)), "{file} does not explain {name}");
        }
    }
}

/// The template of the sample, with a job that names it, as both READMEs show them.
#[test]
fn the_template_example_is_a_job() {
    let sample: Vec<&str> =
        include_str!("../../dispatcher.toml").lines().map(|line| line.trim_start_matches('#')).collect();
    let of_template = sample.iter().skip_while(|line| **line != "[templates.order_shipped]");
    let value = |key: &str| {
        let line = of_template.clone().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches('"').to_owned()
    };
    for (file, text) in READMES {
        let shown = text.lines().find(|line| line.contains("\"template_id\": \"order_shipped\"")).unwrap();
        let template = Template::new(value("id"), &value("text"), VARIABLE_MAX).unwrap();
        let templates = Templates::new([("order_shipped".to_owned(), template)].into());
        let decoded = message::decode(shown.as_bytes(), &Properties::default(), &Rules { templates, ..rules() });
        assert!(decoded.is_ok(), "{file}: {decoded:?}");
    }
}

/// The names of all metrics, without the prefix.
fn metrics() -> Vec<String> {
    let text = all_metrics().render();
    let names = text.lines().filter_map(|line| line.strip_prefix("# HELP dispatcher_")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// Metrics with a series of each: one with labels shows only with its first.
pub fn all_metrics() -> Metrics {
    let metrics = Metrics::new();
    metrics.begin_accounts(["main"]);
    for histogram in [&metrics.batch_rows, &metrics.batch_seconds] {
        histogram.with_label_values(&["admit"]).observe(0.0);
    }
    metrics.account_balance.with_label_values(&["main"]).set(0.0);
    metrics.set_balance_hours("main", Some(0.0));
    metrics.set_queues(Some(&[("dead", 0)]));
    metrics
}

#[test]
fn both_readmes_repeat_the_table_of_codes() {
    let table = CodeTable::default();
    for (index, (file, text)) in READMES.into_iter().enumerate() {
        // On a terminal there are no backticks.
        let rows = text.replace('`', "");
        for known in codes::KNOWN {
            let meaning = [format!("{}: {}", known.meaning.zh, known.meaning.en), known.meaning.zh.to_owned()];
            let cure = [known.cure.en, known.cure.zh][index];
            let (code, class) = (known.code, table.class(known.code));
            let row = format!("| {code} | {class} | {} | {cure} |", meaning[index]).replace("|  |", "| |");
            assert!(rows.contains(&row), "{file} has no row {row}");
        }
        let unpublished = codes::cure(777).expect("a cure for any code");
        let row = format!("| retry | | {} |", [unpublished.en, unpublished.zh][index]);
        assert!(rows.contains(&row), "{file} has no row {row}");
    }
}

#[test]
fn both_readmes_name_every_reason_of_a_rejection() {
    for (file, text) in READMES {
        for reason in RejectReason::ALL {
            assert!(text.contains(&quoted(reason.as_str())), "{file} does not explain {reason}");
        }
    }
}

#[test]
fn both_readmes_name_every_event() {
    for (file, text) in READMES {
        for kind in event::TYPES {
            assert!(text.contains(&quoted(kind)), "{file} does not explain {kind}");
        }
        for member in event::JOB_DATA {
            assert!(text.contains(&format!("\"{member}\": ")), "{file} does not show {member}");
        }
    }
}
