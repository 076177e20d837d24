//! Limits by hour and day: they hold across restarts and replicas, and park what is beyond them.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use dispatcher::simulator::Scripted;

use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

async fn limited(limits: &str) -> Stage {
    let mut stage = Stage::new().await;
    stage.set("limits.mobile", limits);
    stage.set("limits.mobile_burst", "5");
    stage
}

/// Jobs `from-…` for one number.
fn jobs(name: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| job(&format!("{name}-{n}"), &number(1))).collect()
}

async fn due(stage: &Stage, id: &str) -> DateTime<Utc> {
    stage.db.job(id).await.unwrap().due_at.unwrap()
}

#[tokio::test]
async fn three_an_hour_go_and_the_others_wait_in_order() {
    let mut stage = limited("1000/s, 3/h").await;
    stage.start().await;
    let begun = Utc::now();
    stage.publish("normal", &jobs("job", 8)).await;
    stage.publish("normal", [&job("other", &number(2))]).await;
    stage.states("accepted 4, waiting/number_limit 5").await;
    let mut dues = Vec::new();
    for n in 3..8 {
        let row = stage.db.job(&format!("job-{n}")).await.unwrap();
        assert_eq!((row.attempts, row.code), (0, None), "no attempt is spent");
        dues.push(row.due_at.unwrap() - begun);
    }
    assert!(dues.is_sorted(), "{dues:?}");
    assert!(dues.iter().all(|due| (3_599..3_660).contains(&due.num_seconds())), "{dues:?}");
    assert_eq!(stage.gateway.submissions().len(), 4);
    stage.metric("jobs_waiting", &[("reason", "number_limit")], 5.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn limits_that_are_taken_away_hold_nobody_any_more_but_ihuyis_own() {
    let mut stage = limited("1000/s, 1/h").await;
    stage.gateway.script(&number(2), vec![Scripted::Code(4084, "超出四条".into())]);
    stage.start().await;
    stage.publish("normal", &jobs("job", 3)).await;
    stage.publish("normal", [&job("tomorrow", &number(2))]).await;
    stage.states("accepted 1, waiting/number_limit 3").await;
    stage.stop().await;
    stage.set("limits.mobile", "1000/s");
    stage.start().await;
    stage.states("accepted 3, waiting/number_limit 1").await;
    stage.publish("normal", [&job("later", &number(1))]).await;
    stage.settled("later", "accepted").await;
    assert_eq!(stage.job("tomorrow", |_| true).await.attempts, 1);
    stage.finish().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_of_an_hour_forgets_nothing() {
    let mut stage = limited("1000/s, 3/h").await;
    stage.start().await;
    stage.publish("normal", &jobs("before", 2)).await;
    stage.states("accepted 2").await;
    stage.stop().await;
    stage.start().await;
    stage.publish("high", &jobs("after", 3)).await;
    stage.states("accepted 3, waiting/number_limit 2").await;
    stage.stop().await;
    stage.start().await;
    // There is room when the first two leave the window, and the oldest that wait go first.
    let aged = "update attempts set started_at = started_at - interval '61 minutes' where job_id like 'before-%'";
    assert_eq!(stage.db.execute(aged).await, 2);
    stage.db.execute("update jobs set due_at = now() where wait_reason = 'number_limit'").await;
    stage.states("accepted 5").await;
    let sent: Vec<String> = stage.gateway.submissions().into_iter().map(|submit| submit.content).collect();
    let wanted = [jobs("before", 2), jobs("after", 3)].concat();
    assert_eq!(sent, wanted.iter().map(|job| job["content"].as_str().unwrap()).collect::<Vec<_>>());
    stage.finish().await;
}

#[tokio::test]
async fn two_replicas_count_together() {
    let mut stage = limited("1000/s, 4/h").await;
    stage.migrate().await;
    stage.set("accounts.main.rate", "50/s");
    let (first, second) = (stage.process(), stage.process());
    first.ready().await;
    second.ready().await;
    stage.publish("normal", &jobs("before", 2)).await;
    stage.states("accepted 2").await;
    // Whichever of the two serves, it is killed; the other one goes on.
    first.kill().await;
    stage.publish("normal", &jobs("after", 5)).await;
    stage.states("accepted 4, waiting/number_limit 3").await;
    assert_eq!(stage.gateway.submissions().len(), 4);
    second.terminate().await;
    stage.finish().await;
}

#[tokio::test]
async fn a_day_begins_at_midnight_in_shanghai() {
    let mut stage = limited("1000/s, 2/d").await;
    stage.start().await;
    stage.publish("normal", &jobs("today", 4)).await;
    stage.states("accepted 2, waiting/number_limit 2").await;
    for id in ["today-2", "today-3"] {
        let due = due(&stage, id).await;
        let after_midnight = (due.timestamp() + 8 * 3_600).rem_euclid(86_400);
        assert!(after_midnight < 60 && due - Utc::now() <= Duration::days(1), "{due}");
    }
    // A day later: what was sent is yesterday's.
    stage.db.execute("update attempts set started_at = started_at - interval '1 day'").await;
    stage.db.execute("update jobs set due_at = now() where state = 'waiting'").await;
    stage.states("accepted 4").await;
    stage.finish().await;
}

#[tokio::test]
async fn what_failed_leaves_its_place_to_another() {
    let mut stage = limited("1000/s, 1/h").await;
    stage.gateway.script(&number(1), vec![dispatcher::simulator::Scripted::Code(4072, "模板不匹配".into())]);
    stage.start().await;
    stage.publish("normal", &jobs("job", 3)).await;
    stage.states("accepted 1, failed 1, waiting/number_limit 1").await;
    becomes("the third waits", true, async || due(&stage, "job-2").await > Utc::now() + Duration::minutes(59)).await;
    stage.finish().await;
}
