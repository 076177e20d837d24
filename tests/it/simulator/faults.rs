//! Scripted answers, and faults drawn by chance.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use dispatcher::simulator::{Faults, Latency, Options, Rules, Scripted, Simulator};

use super::wire::{Client, MOBILE, Submit, TEXT, in_time, start};

async fn with_faults(faults: Faults) -> Simulator {
    let rules = Rules { per_second: 0, ..Rules::default() };
    start(Options { faults, rules, seed: Some(7), ..Options::default() }).await
}

/// Sends a submit on a connection of its own.
async fn submit_to(simulator: &Simulator) -> Client {
    let mut client = Client::connect(simulator).await;
    client.send(Submit::dynamic(MOBILE, TEXT).json().post()).await;
    client
}

async fn assert_reset(client: &mut Client) {
    assert_eq!(client.rest().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn scripted_answers_come_in_order_then_the_usual_ones() {
    let simulator = start(Options::default()).await;
    let raw = Scripted::Raw { status: 502, content_type: "text/html".into(), body: b"<h1>502</h1>".into() };
    simulator.script(MOBILE, vec![Scripted::Code(9999, "未知".into())]);
    simulator.script(MOBILE, vec![raw, Scripted::Code(2, "好".into()), Scripted::Normal]);
    let mut client = Client::connect(&simulator).await;
    let mut call = async || client.call(Submit::dynamic(MOBILE, TEXT).json().post()).await;
    assert_eq!(call().await.body, r#"{"code":9999,"msg":"未知","smsid":"0"}"#);
    let raw = call().await;
    assert_eq!((raw.status, raw.body.as_str()), (502, "<h1>502</h1>"));
    let taken = call().await;
    assert_eq!((taken.code(), taken.smsid().len()), (2, 20));
    assert_eq!(call().await.code(), 2);
    let codes: Vec<_> = simulator.submissions().iter().map(|entry| entry.code).collect();
    assert_eq!(codes, [Some(9999), None, Some(2), Some(2)]);
}

#[tokio::test]
async fn a_script_is_for_its_number_only() {
    let simulator = start(Options::default()).await;
    simulator.script("13900139000", vec![Scripted::Code(0, "提交失败".into())]);
    assert_eq!(submit_to(&simulator).await.answer().await.code(), 2);
}

#[tokio::test]
async fn a_script_can_break_the_connection() {
    let simulator = start(Options::default()).await;
    simulator.script(MOBILE, vec![Scripted::ResetAfterRead, Scripted::CloseBeforeReply, Scripted::Hang]);
    assert_reset(&mut submit_to(&simulator).await).await;
    assert_eq!(submit_to(&simulator).await.rest().await.unwrap(), b"");
    let mut hanging = submit_to(&simulator).await;
    let submissions = in_time(simulator.wait_for(3)).await;
    let faults: Vec<_> = submissions.iter().map(|entry| entry.fault).collect();
    assert_eq!(faults, [Some("reset"), Some("close"), Some("hang")]);
    assert!(submissions.iter().all(|entry| entry.code.is_none() && entry.smsid == "0"));
    let silence = tokio::time::timeout(Duration::from_millis(50), hanging.rest()).await;
    assert!(silence.is_err(), "neither an answer nor an end: {silence:?}");
    simulator.stop().await;
    assert_eq!(hanging.rest().await.unwrap(), b"", "a hanging client hears nothing until the end");
}

#[tokio::test]
async fn a_script_can_delay_and_the_log_has_the_submit_at_once() {
    let simulator = start(Options::default()).await;
    let delay = Duration::from_millis(80);
    simulator.script(MOBILE, vec![Scripted::Delay(delay, Box::new(Scripted::Normal))]);
    let started = Instant::now();
    let mut client = submit_to(&simulator).await;
    assert_eq!(in_time(simulator.wait_for(1)).await[0].code, Some(2));
    assert_eq!(client.answer().await.code(), 2);
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn a_judged_message_is_taken_although_its_answer_is_lost() {
    let simulator = start(Options::default()).await;
    let reset = Box::new(Scripted::ResetAfterRead);
    simulator.script(MOBILE, vec![Scripted::Judged(reset)]);
    assert_reset(&mut submit_to(&simulator).await).await;
    let submission = in_time(simulator.wait_for(1)).await.remove(0);
    assert_eq!((submission.code, submission.smsid.len(), submission.fault), (Some(2), 20, Some("reset")));
    assert_eq!(simulator.stats().parts, 1);
}

#[tokio::test]
async fn codes_strike_by_share_and_a_seed_repeats_them() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let simulator = with_faults(Faults { codes: vec![(4080, 0.3), (0, 0.2)], ..Faults::default() }).await;
        let mut client = Client::connect(&simulator).await;
        let mut codes = Vec::new();
        for _ in 0..200 {
            codes.push(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code());
        }
        runs.push(codes);
    }
    assert_eq!(runs[0], runs[1]);
    let count = |code: i64| runs[0].iter().filter(|found| **found == code).count();
    assert!((40..80).contains(&count(4080)), "{}", count(4080));
    assert!((22..60).contains(&count(0)), "{}", count(0));
    assert_eq!(count(4080) + count(0) + count(2), 200);
}

#[tokio::test]
async fn after_reset_hang_and_cut_the_message_was_taken() {
    let reset = with_faults(Faults { reset: 1.0, ..Faults::default() }).await;
    assert_reset(&mut submit_to(&reset).await).await;

    let cut = with_faults(Faults { cut: 1.0, ..Faults::default() }).await;
    let rest = submit_to(&cut).await.rest().await.unwrap();
    let text = String::from_utf8_lossy(&rest);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("{\"code\":2,") && !text.ends_with('}'), "{text}");

    let hang = with_faults(Faults { hang: 1.0, ..Faults::default() }).await;
    let _client = submit_to(&hang).await;
    for simulator in [reset, cut, hang] {
        let submission = in_time(simulator.wait_for(1)).await.remove(0);
        assert_eq!((submission.code, submission.smsid.len()), (Some(2), 20));
        assert_eq!(simulator.stats().faults.len(), 1);
    }
}

#[tokio::test]
async fn pages_and_garbage_are_no_replies_and_nothing_was_taken() {
    let error = with_faults(Faults { http_500: 1.0, ..Faults::default() }).await;
    assert_eq!(submit_to(&error).await.answer().await.status, 500);
    let html = with_faults(Faults { html: 1.0, ..Faults::default() }).await;
    let page = submit_to(&html).await.answer().await;
    assert!(page.status == 200 && page.body.starts_with("<html>"), "{page:?}");
    let garbage = with_faults(Faults { garbage: 1.0, ..Faults::default() }).await;
    let bytes = submit_to(&garbage).await.rest().await.unwrap();
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"));
    for simulator in [error, html, garbage] {
        assert_eq!(in_time(simulator.wait_for(1)).await[0].code, None);
        assert_eq!(simulator.stats().parts, 0);
    }
}

#[tokio::test]
async fn reset_before_strikes_unread_requests() {
    let simulator = with_faults(Faults { reset_before: 1.0, ..Faults::default() }).await;
    assert_reset(&mut submit_to(&simulator).await).await;
    assert_eq!(simulator.stats().reset_before, 1);
    assert!(simulator.submissions().is_empty());

    let mut leaving = Client::connect(&simulator).await;
    leaving.finish().await;
    assert_eq!(leaving.rest().await.unwrap(), b"");
    assert_eq!(simulator.stats().reset_before, 1, "nobody's request was lost");
}

#[tokio::test]
async fn latency_holds_for_every_answer_but_not_for_the_log() {
    let latency = Latency::Fixed(Duration::from_millis(60));
    let simulator = start(Options { latency, ..Options::default() }).await;
    let started = Instant::now();
    let mut client = submit_to(&simulator).await;
    in_time(simulator.wait_for(1)).await;
    assert_eq!(client.answer().await.code(), 2);
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[test]
fn a_latency_distribution_keeps_its_median_and_99th_percentile() {
    let (p50, p99) = (Duration::from_millis(50), Duration::from_millis(400));
    let mut rng = fastrand::Rng::with_seed(1);
    let mut drawn: Vec<Duration> = (0..20_000).map(|_| Latency::LogNormal { p50, p99 }.draw(&mut rng)).collect();
    drawn.sort();
    let near = |found: Duration, wanted: Duration| (found.as_secs_f64() / wanted.as_secs_f64() - 1.0).abs() < 0.1;
    assert!(near(drawn[10_000], p50), "{:?}", drawn[10_000]);
    assert!(near(drawn[19_800], p99), "{:?}", drawn[19_800]);
}
