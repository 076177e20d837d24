//! One picture of a daemon that runs.

use serde_json::Value;

use crate::support::stage::Stage;
use crate::support::{Ended, dispatcher, job, number};

fn on(stage: &Stage, url: &str, flags: &[&str]) -> Ended {
    let mut run = dispatcher(&["top", "--once", "--interval", "200ms", "--url", url]);
    for (name, value) in stage.environment() {
        run = run.env(&name, &value);
    }
    flags.iter().fold(run, |run, flag| run.argument(flag)).run()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_picture_is_text_or_json() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.gateway.script(&number(1), vec![dispatcher::simulator::Scripted::Code(4030, "x".into())]);
    stage.publish("high", [&job("a", &number(1)), &job("b", &number(2))]).await;
    stage.states("accepted 1, failed 1").await;
    stage
        .db
        .execute("update accounts set state = 'paused', reason = 'by hand', paused_at = now(), paused_by = 'operator'")
        .await;
    stage.metric("account_paused", &[("account", "main")], 1.0).await;
    let url = format!("http://{}", stage.admin());
    let (text, json) = tokio::task::block_in_place(|| (on(&stage, &url, &[]), on(&stage, &url, &["--json"])));
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "{text:?}");
    for part in
        ["┌ Rates", "┌ Queues", "ready, high", "dead", "┌ Limiters", "PAUSED", "by hand", "手机号码已被列入黑名单"]
    {
        assert!(text.stdout.contains(part), "no {part} in\n{}", text.stdout);
    }
    let frame: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(frame["problems"], Value::Array(vec![]));
    assert_eq!((&frame["failures"][0]["code"], &frame["failures"][0]["total"]), (&"4030".into(), &1.0.into()));
    assert_eq!((&frame["rates"][2]["name"], &frame["rates"][2]["total"]), (&"accepted".into(), &1.0.into()));
    stage.finish().await;
}

#[test]
fn a_daemon_that_does_not_answer_is_named_and_exits_1() {
    let ended = dispatcher(&["top", "--once", "--interval", "200ms", "--url", "http://127.0.0.1:1"]).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["metrics: http://127.0.0.1:1/metrics: ", "is the daemon running?", "Postgres: "] {
        assert!(ended.stdout.contains(part), "no {part} in\n{}", ended.stdout);
    }
}
