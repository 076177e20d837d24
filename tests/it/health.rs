//! What operators see, and what nobody may see.

use dispatcher::simulator::{Account, Options, Rules, Scripted};
use serde_json::json;

use crate::support::broker::Message;
use crate::support::metrics::{Scrape, get};
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, dispatcher as command, job, number};

/// What these parts of the contract give; receipts and replies have theirs.
const METRICS: [&str; 23] = [
    "jobs_received_total",
    "jobs_rejected_total",
    "jobs_finished_total",
    "submissions_total",
    "submit_duration_seconds",
    "job_latency_seconds",
    "limiter_wait_seconds",
    "jobs_in_flight",
    "jobs_waiting",
    "jobs_in_doubt",
    "account_paused",
    "account_balance",
    "gateway_circuit_open",
    "duplicates_total",
    "rabbitmq_connected",
    "rabbitmq_blocked",
    "postgres_batch_rows",
    "postgres_batch_seconds",
    "build_info",
    "tracked_mobiles",
    "queue_messages",
    "retries_exhausted_total",
    "callbacks_enabled",
];

const SECRET_TEXT: &str = "绝密验证码";
const KEYS: [&str; 2] = ["first-api-key-0", "second-api-key-1"];

/// Digits in a row that could be a full number.
fn has_number(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() == 11 && digits.starts_with("139"))
}

/// A bit of everything that a daemon meets.
async fn a_day(stage: &Stage) {
    let text = |id: &str, n: usize| json!({"id": id, "mobile": number(n), "content": SECRET_TEXT});
    let code = |code| vec![Scripted::Code(code, "提交失败".into())];
    stage.gateway.script(&number(2), code(0));
    stage.gateway.script(&number(3), code(4030));
    stage.gateway.script(&number(4), code(123_456));
    stage.gateway.script(&number(5), vec![Scripted::ResetAfterRead]);
    stage.gateway.script(&number(6), vec![Scripted::Hang]);
    let mut jobs: Vec<_> = (1..=8).map(|n| text(&format!("secret-id-{n}"), n)).collect();
    jobs[6]["expires_at"] = "2001-01-01T00:00:00Z".into();
    jobs[7]["not_before"] = "2099-01-01T00:00:00Z".into();
    stage.publish("high", &jobs).await;
    stage.settled("secret-id-1", "accepted").await;
    stage.settled("secret-id-3", "failed").await;
    stage.publish("normal", [&jobs[0], &text("secret-id-3", 9)]).await;
    let strange = [
        format!("{{\"mobile\":\"{}\",\"content\":\"{SECRET_TEXT}\",\"{}\":1}}", number(10), number(11)),
        format!("{SECRET_TEXT} {}", number(12)),
        json!({"id": number(13), "mobile": number(13), "content": SECRET_TEXT}).to_string(),
    ];
    let timed = Message::job("high", &text("secret-id-40", 40)).with_header("x-published-ms", "1700000000000");
    stage.broker.publish(&[timed]).await;
    let odd = number(14);
    let messages: Vec<Message> = strange.into_iter().map(|body| Message::raw(format!("bulk.{odd}"), body)).collect();
    stage.broker.publish(&messages).await;
    let mut frozen = text("secret-id-20", 20);
    frozen["account"] = "a1".into();
    stage.publish("bulk", [&frozen]).await;
    let hot: Vec<_> = (0..12).map(|n| text(&format!("secret-id-hot-{n}"), 30)).collect();
    stage.publish("bulk", &hot).await;
}

#[tokio::test]
async fn the_contracts_metrics_are_there_and_nobody_is_named_in_labels_or_logs() {
    let accounts = vec![Account::new("C00000001", KEYS[0]), Account::new("C00000002", KEYS[1])];
    let rules = Rules { per_second: 0, blacklist: [number(15)].into(), ..Rules::default() };
    let mut stage = Stage::with(Options { accounts, rules, ..lenient() }).await;
    stage.gateway.set_account("C00000002", |account| account.frozen = true);
    stage.migrate().await;
    for (key, value) in [
        ("log.level", "trace"),
        ("log.format", "json"),
        ("gateway.timeout", "900ms"),
        ("gateway.connect_timeout", "800ms"),
        ("gateway.method", "GET"),
        ("limits.mobile", "4/s"),
        ("limits.mobile_burst", "1"),
        ("retry.initial", "100ms"),
    ] {
        stage.set(key, value);
    }
    let process = stage.process();
    process.ready().await;
    a_day(&stage).await;
    stage.states("accepted 17, expired 1, failed 1, in_doubt 2, waiting/account_paused 1, waiting/scheduled 1").await;
    becomes("rejections", 3, async || stage.db.count("rejections").await).await;
    becomes("waiting jobs", 1.0, async || {
        Scrape::of(process.admin).await.sum("jobs_waiting", &[("reason", "account_paused")])
    })
    .await;

    let scrape = Scrape::of(process.admin).await;
    // The balance is asked only of an account that stays paused for a minute.
    for name in METRICS.into_iter().filter(|name| *name != "account_balance") {
        assert!(scrape.has(name), "{name} is missing");
    }
    let sum = |name, labels: &[(&str, &str)]| scrape.sum(name, labels);
    assert!(sum("jobs_received_total", &[("priority", "high")]) >= 9.0, "every delivery counts, retries too");
    assert_eq!(sum("jobs_rejected_total", &[("reason", "bad_field")]), 1.0);
    assert_eq!(sum("jobs_rejected_total", &[("reason", "bad_json")]), 1.0);
    assert_eq!(sum("jobs_rejected_total", &[("reason", "id_conflict")]), 1.0);
    assert_eq!(sum("jobs_finished_total", &[("account", "main"), ("state", "accepted"), ("code", "2")]), 17.0);
    assert_eq!(sum("submissions_total", &[("code", "other"), ("outcome", "retry")]), 1.0);
    assert_eq!(sum("submissions_total", &[]), stage.db.count("attempts where outcome is not null").await as f64);
    assert_eq!((sum("duplicates_total", &[]), sum("rabbitmq_connected", &[])), (1.0, 1.0));
    assert_eq!(sum("build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    for (series, _) in scrape.samples() {
        assert!(!has_number(series) && !series.contains("secret-id"), "{series}");
    }

    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.lines().count() > 3, "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
        assert!(!has_number(line), "a full number: {line}");
        let secrets = [SECRET_TEXT, "secret-id", KEYS[0], KEYS[1], "password="];
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn latency_counts_from_when_the_publisher_says() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let minute_ago = (chrono::Utc::now() - chrono::Duration::seconds(60)).timestamp_millis();
    let message = Message::job("high", &job("old", &number(1))).with_header("x-published-ms", &minute_ago.to_string());
    stage.broker.publish(&[message]).await;
    stage.settled("old", "accepted").await;
    stage.metric("job_latency_seconds_count", &[("priority", "high")], 1.0).await;
    let seconds = stage.scrape().await.sum("job_latency_seconds_sum", &[("priority", "high")]);
    assert!((60.0..120.0).contains(&seconds), "{seconds}");
    stage.finish().await;
}

#[tokio::test]
async fn a_standby_is_ready_and_healthy() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let standby = stage.process();
    standby.ready().await;
    assert_eq!(get(standby.admin, "/healthz").await, Some((200, "ok\n".to_owned())));
    stage.publish("high", [&job("one", &number(1))]).await;
    stage.states("accepted 1").await;
    let (status, log) = standby.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    stage.finish().await;
}

#[tokio::test]
async fn what_stands_in_the_queues_and_what_used_up_its_attempts_is_counted() {
    let mut stage = Stage::new().await;
    stage.set("retry.max_attempts", "2");
    stage.set("retry.initial", "10ms");
    stage.gateway.script(&number(1), vec![Scripted::Code(0, "提交失败".into()); 2]);
    stage.gateway.script(&number(2), vec![Scripted::Code(4030, "黑名单".into())]);
    stage.start().await;
    let series = [("account", "main")];
    assert_eq!(stage.scrape().await.sum("retries_exhausted_total", &series), 0.0, "it begins at zero");
    stage.publish("high", [&job("used-up", &number(1)), &job("refused", &number(2))]).await;
    stage.states("failed 2").await;
    stage.metric("retries_exhausted_total", &series, 1.0).await;
    stage.broker.publish_to_dead(b"poison").await;
    stage.metric("queue_messages", &[("queue", "dead")], 1.0).await;
    stage.metric("queue_messages", &[("queue", "high")], 0.0).await;
    stage.broker.purge(&format!("{}.dead", stage.broker.prefix)).await;
    stage.metric("queue_messages", &[("queue", "dead")], 0.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn the_binary_asks_the_daemon_beside_it() {
    let stage = Stage::new().await;
    stage.migrate().await;
    let process = stage.process();
    process.ready().await;
    let admin = process.admin.to_string();
    for arguments in [&["health"][..], &["health", "--ready", "--json"]] {
        let asked = command(arguments).env("DISPATCHER__ADMIN__LISTEN", &admin);
        let ended = tokio::task::spawn_blocking(|| asked.run()).await.unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let ended = command(&["health"]).env("DISPATCHER__ADMIN__LISTEN", &admin).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("is the daemon running?"), "{ended:?}");
    stage.finish().await;
}
