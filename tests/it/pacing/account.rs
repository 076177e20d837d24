//! The limits of an account: its rate, and what may be on the wire.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options};
use serde_json::Value;

use super::most_within;
use crate::support::lateness::Lateness;
use crate::support::stage::{Stage, lenient};
use crate::support::{job, number};

fn jobs(count: usize) -> Vec<Value> {
    (0..count).map(|n| job(&format!("job-{n}"), &number(n))).collect()
}

#[tokio::test]
async fn in_any_second_at_most_rate_and_burst() {
    let mut stage = Stage::new().await;
    stage.set("accounts.main.rate", "50/s");
    stage.set("accounts.main.burst", "5");
    let late = Lateness::watch();
    stage.start().await;
    stage.publish("normal", &jobs(250)).await;
    stage.states("accepted 250").await;
    let times: Vec<f64> = stage.gateway.submissions().iter().map(|submit| submit.at).collect();
    let most = most_within(&times, 1.0 - late.worst());
    assert!(most <= 55, "{most} within a second, late by {} s", late.worst());
    let took = times[249] - times[0];
    assert!(took < 250.0 / 50.0 * 1.4 + 1.0, "{took} s for 250 at 50 a second: tokens are lost");
    stage.finish().await;
}

#[tokio::test]
async fn a_restart_does_not_break_an_accounts_rate() {
    let mut stage = Stage::new().await;
    stage.set("accounts.main.rate", "20/s");
    stage.set("accounts.main.burst", "10");
    let late = Lateness::watch();
    stage.start().await;
    stage.publish("normal", &jobs(60)).await;
    for restart in 1..=2 {
        stage.submissions(restart * 10).await;
        stage.stop().await;
        stage.start().await;
    }
    stage.states("accepted 60").await;
    let times: Vec<f64> = stage.gateway.submissions().iter().map(|submit| submit.at).collect();
    let most = most_within(&times, 1.0 - late.worst());
    assert!(most <= 30, "{most} within a second, late by {} s", late.worst());
    stage.finish().await;
}

#[tokio::test]
async fn no_more_than_max_in_flight_are_on_the_wire() {
    let latency = 0.06;
    let options = Options { latency: Latency::Fixed(Duration::from_secs_f64(latency)), ..lenient() };
    let mut stage = Stage::with(options).await;
    stage.set("accounts.main.max_in_flight", "8");
    stage.start().await;
    stage.publish("normal", &jobs(200)).await;
    stage.states("accepted 200").await;
    let times: Vec<f64> = stage.gateway.submissions().iter().map(|submit| submit.at).collect();
    // Each is on the wire for the latency at least, so as many as are read within it are there together.
    let most = most_within(&times, latency - 0.002);
    assert!((4..=8).contains(&most), "{most} at a time");
    stage.finish().await;
}
