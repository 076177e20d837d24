//! Quiet hours: nothing of the priority goes, and the morning does not flood.

use chrono::{Duration, Timelike, Utc};
use serde_json::Value;

use crate::pacing::most_within;
use crate::support::lateness::Lateness;
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

/// Quiet hours from an hour ago for three hours; `ahead` so many hours later.
fn quiet(ahead: i64) -> String {
    let shanghai = Utc::now() + Duration::hours(8 + ahead);
    let hour = |offset: i64| format!("{:02}:00", (shanghai + Duration::hours(offset)).hour());
    format!("{}-{}", hour(-1), hour(2))
}

fn jobs(count: usize) -> Vec<Value> {
    (0..count).map(|n| job(&format!("job-{n:04}"), &number(n))).collect()
}

#[tokio::test]
async fn bulk_waits_for_the_morning_and_the_others_go() {
    let mut stage = Stage::new().await;
    stage.set("limits.quiet_hours.bulk", &quiet(0));
    stage.start().await;
    stage.publish("bulk", &jobs(3)).await;
    stage.publish("high", [&job("code", &number(0))]).await;
    stage.states("accepted 1, waiting/quiet_hours 3").await;
    let due = stage.db.job("job-0000").await.unwrap().due_at.unwrap();
    assert!(due.minute() == 0 && due.second() == 0 && due.nanosecond() == 0, "{due}");
    assert!(due > Utc::now() && due <= Utc::now() + Duration::hours(2), "{due}");
    assert_eq!(stage.gateway.submissions().len(), 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_job_that_comes_due_at_night_waits_for_the_morning() {
    let mut stage = Stage::new().await;
    stage.set("limits.quiet_hours.normal", &quiet(0));
    stage.start().await;
    let mut later = job("later", &number(1));
    later["not_before"] = (Utc::now() + Duration::seconds(1)).to_rfc3339().into();
    stage.publish("normal", [&later]).await;
    stage.states("waiting/quiet_hours 1").await;
    assert_eq!(stage.gateway.submissions().len(), 0);
    stage.finish().await;
}

#[tokio::test]
async fn quiet_hours_that_are_moved_hold_nobody_any_more() {
    let mut stage = Stage::new().await;
    stage.set("limits.quiet_hours.bulk", &quiet(0));
    stage.set("limits.quiet_hours.normal", &quiet(0));
    stage.start().await;
    stage.publish("bulk", &jobs(3)).await;
    stage.publish("normal", [&job("other", &number(9))]).await;
    stage.states("waiting/quiet_hours 4").await;
    stage.stop().await;
    stage.set("limits.quiet_hours.bulk", &quiet(12));
    stage.start().await;
    stage.states("accepted 3, waiting/quiet_hours 1").await;
    stage.publish("bulk", [&job("later", &number(0))]).await;
    stage.settled("later", "accepted").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_morning_goes_at_the_accounts_pace_in_order() {
    let mut stage = Stage::new().await;
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "10");
    stage.set("limits.quiet_hours.bulk", &quiet(0));
    let late = Lateness::watch();
    stage.start().await;
    stage.publish("bulk", &jobs(600)).await;
    stage.states("waiting/quiet_hours 600").await;
    stage.stop().await;
    // The morning: it is quiet no more, and all are due.
    stage.set("limits.quiet_hours.bulk", &quiet(12));
    stage.db.execute("update jobs set due_at = now() - interval '1 s'").await;
    stage.start().await;
    stage.publish("high", [&job("code", &number(9_999))]).await;
    stage.settled("code", "accepted").await;
    becomes("all are sent", 601, async || stage.db.count("jobs where state = 'accepted'").await).await;
    let submissions = stage.gateway.submissions();
    // In order of arrival, but for those that stand in the account's line together.
    let places = submissions.iter().filter_map(|submit| (0..600).position(|n| submit.mobile == number(n)));
    let astray = places.enumerate().map(|(place, n)| place.abs_diff(n)).max().unwrap();
    assert!(astray < 100, "a job went {astray} places before or behind its own");
    let times: Vec<f64> = submissions.iter().map(|submit| submit.at).collect();
    let most = most_within(&times, 1.0 - late.worst());
    assert!(most <= 110, "{most} within a second, late by {} s", late.worst());
    // Each came in, was woken without RabbitMQ, went out once, and was recorded.
    let rows = stage.scrape().await.sum("postgres_batch_rows_sum", &[("statement", "readmit")]);
    assert!(rows <= 700.0, "{rows} rows readmitted for 600 jobs");
    stage.finish().await;
}
