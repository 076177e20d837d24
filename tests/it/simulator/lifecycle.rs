//! Starting, stopping, waiting, and what is kept.

use std::time::Duration;

use dispatcher::simulator::{Faults, Latency, Options, Receipts, Rules, Simulator};

use super::wire::{Client, MOBILE, Submit, TEXT, get, in_time, start};

fn unlimited(log: usize) -> Options {
    Options { log, rules: Rules { per_second: 0, ..Rules::default() }, ..Options::default() }
}

#[tokio::test]
async fn urls_name_the_bound_port_and_the_method() {
    let simulator = start(Options::default()).await;
    let port = simulator.address().port();
    assert_eq!(simulator.submit_url(), format!("http://127.0.0.1:{port}/webservice/sms.php?method=Submit"));
    assert_eq!(simulator.balance_url(), format!("http://127.0.0.1:{port}/webservice/sms.php?method=GetNum"));
}

#[tokio::test]
async fn a_stopped_simulator_starts_again_on_its_port() {
    let simulator = start(Options::default()).await;
    let listen = simulator.address();
    let mut client = Client::connect(&simulator).await;
    client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
    assert!(Simulator::start(Options { listen, ..Options::default() }).await.is_err(), "the port is taken");
    simulator.stop().await;
    assert_eq!(client.rest().await.unwrap(), b"", "its connections are closed");
    let again = start(Options { listen, ..Options::default() }).await;
    assert_eq!(Client::connect(&again).await.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), 2);
    assert_eq!(again.submissions()[0].seq, 1);
}

#[tokio::test]
async fn waiting_ends_with_the_nth_submission() {
    let simulator = std::sync::Arc::new(start(unlimited(10)).await);
    let waiting = tokio::spawn({
        let simulator = std::sync::Arc::clone(&simulator);
        async move { in_time(simulator.wait_for(3)).await.len() }
    });
    let mut client = Client::connect(&simulator).await;
    client.call(get("/_sim/stats")).await;
    for _ in 0..3 {
        assert!(!waiting.is_finished());
        client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
    }
    assert_eq!(waiting.await.unwrap(), 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let keep_alive = Some(Duration::from_millis(20));
    let simulator = start(Options { keep_alive, ..unlimited(10) }).await;
    let mut client = Client::connect(&simulator).await;
    assert_eq!(client.call(Submit::dynamic(MOBILE, TEXT).post()).await.code(), 2);
    assert_eq!(client.rest().await.unwrap(), b"");
}

#[tokio::test]
async fn the_log_keeps_the_newest_or_nothing() {
    for (log, kept) in [(2, vec![2, 3]), (0, vec![])] {
        let simulator = start(unlimited(log)).await;
        let mut client = Client::connect(&simulator).await;
        for _ in 0..3 {
            client.call(Submit::dynamic(MOBILE, TEXT).post()).await;
        }
        let seqs: Vec<u64> = in_time(simulator.wait_for(3)).await.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, kept);
        assert_eq!(simulator.stats().submissions, 3);
    }
}

#[tokio::test]
async fn impossible_options_are_refused() {
    let too_much = Faults { hang: 0.6, reset: 0.6, ..Faults::default() };
    let negative = Faults { codes: vec![(0, -0.1)], ..Faults::default() };
    let reversed = Latency::LogNormal { p50: Duration::from_secs(2), p99: Duration::from_secs(1) };
    for options in [
        Options { accounts: vec![], ..Options::default() },
        Options { faults: too_much, ..Options::default() },
        Options { faults: negative, ..Options::default() },
        Options { latency: reversed, ..Options::default() },
        Options { receipts: Some(Receipts::to("https://example.com/")), ..Options::default() },
        Options { reply_url: Some("nonsense".into()), ..Options::default() },
    ] {
        assert!(Simulator::start(options.clone()).await.is_err(), "{options:?}");
    }
}
