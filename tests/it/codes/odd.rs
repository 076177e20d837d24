//! Answers that are spelt in another way, and what is no answer at all.

use std::time::{Duration, Instant};

use dispatcher::simulator::{Faults, Options, Scripted};

use crate::support::stage::{Stage, lenient};
use crate::support::{job, number};

fn raw(status: u16, content_type: &str, body: &str) -> Scripted {
    Scripted::Raw { status, content_type: content_type.into(), body: body.as_bytes().to_vec() }
}

const JSON: &str = "application/json; charset=utf-8";
const XML: &str = "text/xml; charset=utf-8";

#[tokio::test]
async fn a_code_is_a_number_however_it_is_spelt() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "60s");
    stage.start().await;
    let xml = |code: &str, smsid: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<SubmitResult xmlns=\"http://106.ihuyi.cn/\">\n\
             <code>{code}</code>\n<msg>提交成功</msg>\n<smsid>{smsid}</smsid>\n</SubmitResult>\n"
        )
    };
    let cases = [
        (
            raw(200, JSON, r#"{"code":"2","msg":"提交成功","smsid":"17000000001234567890"}"#),
            "accepted",
            Some(2),
            Some("17000000001234567890"),
        ),
        (
            raw(200, JSON, r#"{"code":2,"msg":"ok","smsid":99999999991234567890123}"#),
            "accepted",
            Some(2),
            Some("99999999991234567890123"),
        ),
        (raw(200, JSON, r#"{"smsid":17000000,"msg":"","code":2,"more":[1]}"#), "accepted", Some(2), Some("17000000")),
        (raw(200, "text/html", r#"{"code":2,"msg":"提交成功","smsid":"1"}"#), "accepted", Some(2), Some("1")),
        (raw(200, XML, &xml("2", "00017000000001234567")), "accepted", Some(2), Some("00017000000001234567")),
        (raw(200, JSON, r#"{"code":"4030","msg":"提交成功","smsid":"5"}"#), "failed", Some(4030), None),
        (raw(200, JSON, r#"{"code":"0","msg":"提交成功","smsid":"5"}"#), "waiting", Some(0), None),
        (raw(200, JSON, r#"{"code":201,"msg":"提交成功","smsid":"5"}"#), "waiting", Some(201), None),
        (raw(200, XML, &xml("20", "5")), "waiting", Some(20), None),
        (raw(200, XML, &xml("4072", "0")), "failed", Some(4072), None),
    ];
    let jobs: Vec<_> = (0..cases.len()).map(|n| job(&format!("odd-{n}"), &number(n))).collect();
    cases.iter().enumerate().for_each(|(n, case)| stage.gateway.script(&number(n), vec![case.0.clone()]));
    stage.publish("normal", &jobs).await;
    stage.states("accepted 5, failed 2, waiting/retry 3").await;
    for (n, (answer, state, code, smsid)) in cases.iter().enumerate() {
        let row = stage.db.job(&format!("odd-{n}")).await.unwrap();
        assert_eq!((row.state.as_str(), row.code), (*state, *code), "{answer:?}");
        if *state == "accepted" {
            assert_eq!(row.smsid.as_deref(), *smsid, "{answer:?}");
        }
    }
    stage.finish().await;
}

/// What leaves it open whether ihuyi took the message.
fn unclear() -> Vec<Scripted> {
    let taken = |answer| Scripted::Judged(Box::new(answer));
    vec![
        raw(200, JSON, r#"{"code":2,"msg":"提交成功"}"#),
        raw(200, JSON, r#"{"code":2,"msg":"提交成功","smsid":"0"}"#),
        raw(200, JSON, r#"{"code":2,"msg":"提交成功","smsid":0}"#),
        raw(200, JSON, r#"{"code":2,"msg":"提交成功","smsid":""}"#),
        raw(200, JSON, r#"{"code":2,"msg":"提交成功","smsid":null}"#),
        raw(500, "text/html", "<h1>Internal Server Error</h1>"),
        raw(502, "text/html", "<h1>Bad Gateway</h1>"),
        raw(404, "text/plain", ""),
        raw(500, JSON, r#"{"code":406,"msg":"手机格式不正确","smsid":"0"}"#),
        raw(201, JSON, r#"{"code":2,"msg":"提交成功","smsid":"17000000001234567890"}"#),
        raw(302, "text/html", "moved"),
        raw(200, "text/html", "<html><body>维护中</body></html>"),
        raw(200, JSON, ""),
        raw(200, JSON, r#"{"code":2,"msg":"提交"#),
        raw(200, JSON, r#"{"msg":"提交成功","smsid":"1"}"#),
        raw(200, JSON, r#"{"code":null,"smsid":"1"}"#),
        raw(200, JSON, r#"{"code":2.5,"smsid":"1"}"#),
        raw(200, JSON, r#"["code",2]"#),
        raw(200, XML, "<code>2</code>"),
        taken(Scripted::Hang),
        taken(Scripted::ResetAfterRead),
        taken(Scripted::CloseBeforeReply),
        Scripted::Hang,
        Scripted::ResetAfterRead,
        Scripted::CloseBeforeReply,
    ]
}

#[tokio::test]
async fn what_leaves_it_open_is_held_or_resent_as_the_job_says() {
    let mut stage = Stage::new().await;
    stage.set("gateway.timeout", "700ms");
    stage.set("gateway.connect_timeout", "600ms");
    stage.set("retry.initial", "50ms");
    stage.start().await;
    let (answers, mut jobs) = (unclear(), Vec::new());
    for (n, answer) in answers.iter().enumerate() {
        for (mobile, choice) in [(number(n), "hold"), (number(1_000 + n), "resend")] {
            stage.gateway.script(&mobile, vec![answer.clone()]);
            let mut body = job(&format!("{choice}-{n}"), &mobile);
            body["on_unknown"] = choice.into();
            jobs.push(body);
        }
    }
    let begun = Instant::now();
    stage.publish("high", &jobs).await;
    let each = answers.len();
    stage.states(&format!("accepted {each}, in_doubt {each}")).await;
    assert!(begun.elapsed() > Duration::from_millis(700), "a hang lasts as long as the timeout");
    for (n, answer) in answers.iter().enumerate() {
        let held = stage.db.job(&format!("hold-{n}")).await.unwrap();
        assert_eq!((held.code, held.attempts, held.due_at), (None, 1, None), "{answer:?}");
        assert_eq!(stage.db.attempts(&held.id).await, [("unknown".to_owned(), None)], "{answer:?}");
        let resent = stage.db.job(&format!("resend-{n}")).await.unwrap();
        assert_eq!((resent.code, resent.attempts), (Some(2), 2), "{answer:?}");
        let outcomes = stage.db.attempts(&resent.id).await;
        assert_eq!(outcomes, [("unknown".to_owned(), None), ("accepted".to_owned(), Some(2))], "{answer:?}");
    }
    // Nothing but the daemon's own decision sends again.
    assert_eq!(stage.gateway.submissions().len(), 3 * each);
    stage.metric("jobs_in_doubt", &[], each as f64).await;
    stage.metric("submissions_total", &[("outcome", "unknown"), ("code", "none")], 2.0 * each as f64).await;
    stage.finish().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_leave_it_open() {
    for faults in [Faults { garbage: 1.0, ..Faults::default() }, Faults { cut: 1.0, ..Faults::default() }] {
        let mut stage = Stage::with(Options { faults, ..lenient() }).await;
        stage.start().await;
        let jobs: Vec<_> = (0..20).map(|n| job(&format!("job-{n}"), &number(n))).collect();
        stage.publish("high", &jobs).await;
        stage.states("in_doubt 20").await;
        assert_eq!(stage.gateway.submissions().len(), 20);
        stage.finish().await;
    }
}

#[tokio::test]
async fn a_resend_that_stays_unknown_uses_up_its_attempts() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "10ms");
    stage.set("retry.max_attempts", "3");
    stage.set("in_doubt.on_unknown", "resend");
    stage.gateway.script(&number(1), vec![Scripted::ResetAfterRead; 5]);
    stage.start().await;
    stage.publish("high", [&job("job", &number(1))]).await;
    let row = stage.settled("job", "failed").await;
    assert_eq!((row.attempts, row.code), (3, None));
    assert_eq!(stage.gateway.submissions().len(), 3);
    stage.finish().await;
}
