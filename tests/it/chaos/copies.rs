//! A delivery comes back while its first owner lives: the second copy neither sends nor doubts.

use std::time::Duration;

use dispatcher::simulator::Scripted;

use super::books::jobs;
use crate::support::stage::Stage;
use crate::support::{dispatcher, job, number, proxy};

/// Answered, but late.
fn late(answer: Scripted) -> Vec<Scripted> {
    vec![Scripted::Delay(Duration::from_secs(3), Box::new(answer))]
}

fn refused() -> Scripted {
    Scripted::Code(4030, "手机号码已被列入黑名单".into())
}

/// Whatever the copies do is done: a job that was published after them, and needs no gateway, is settled.
async fn after_the_copies(stage: &Stage) {
    let mut after = job("after", &number(9));
    after["expires_at"] = "2001-01-01T00:00:00Z".into();
    stage.publish("high", [&after]).await;
    stage.settled("after", "expired").await;
}

#[tokio::test]
async fn a_second_copy_leaves_the_first_ones_attempt_alone() {
    let mut stage = Stage::new().await;
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("gateway.timeout", "30s");
    stage.tempo.reconnect = Duration::from_millis(10);
    stage.gateway.script(&number(2), vec![refused()]);
    stage.start().await;
    gateway.stall_answers();
    stage.publish("high", &[jobs("hold", 1, 1), jobs("resend", 2, 1)].concat()).await;
    stage.submissions(2).await;
    rabbitmq.cut();
    after_the_copies(&stage).await;
    assert_eq!(stage.db.states().await, "expired 1, submitting 2");
    gateway.resume();
    stage.settled("hold-1", "accepted").await;
    stage.settled("resend-2", "failed").await;
    assert_eq!(stage.gateway.submissions().len(), 2, "each once");
    assert_eq!(stage.db.count("attempts").await, 2);
    assert_eq!(stage.db.count("events where type = 'job.in_doubt'").await, 0);
    stage.metric("duplicates_total", &[], 0.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn what_was_claimed_in_a_session_that_has_ended_does_not_leave() {
    let mut stage = Stage::new().await;
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("gateway.timeout", "30s");
    stage.set("accounts.main.max_in_flight", "1");
    stage.set("retry.initial", "10ms");
    stage.tempo.reconnect = Duration::from_millis(10);
    stage.start().await;
    gateway.stall_answers();
    stage.publish("high", &jobs("hold", 1, 1)).await;
    stage.submissions(1).await;
    rabbitmq.cut();
    // The only place on the wire is still taken.
    stage.publish("high", &jobs("hold", 2, 1)).await;
    stage.settled("hold-2", "submitting").await;
    rabbitmq.cut();
    after_the_copies(&stage).await;
    gateway.resume();
    stage.states("accepted 2, expired 1").await;
    let attempts = stage.db.attempts("hold-2").await;
    assert_eq!(attempts, [("not_sent".into(), None), ("accepted".into(), Some(2))]);
    stage.finish().await;
}

#[tokio::test]
async fn a_late_outcome_of_a_slow_owner_lands() {
    let mut stage = Stage::new().await;
    // What is to be sent again waits for it longer than the test.
    stage.set("retry.initial", "5m");
    for (n, answer) in [(1, Scripted::Normal), (2, refused()), (3, Scripted::Normal)] {
        stage.gateway.script(&number(n), late(answer));
    }
    stage.start().await;
    stage.publish("high", &[jobs("hold", 1, 2), jobs("resend", 3, 1)].concat()).await;
    stage.submissions(3).await;
    // Somebody takes the owner for dead.
    stage.db.execute("update jobs set claimed_until = now() - interval '1 s'").await;
    stage.states("in_doubt 2, waiting/retry 1").await;
    stage.settled("hold-1", "accepted").await;
    assert_eq!(stage.settled("hold-2", "failed").await.code, Some(4030));
    assert_eq!(stage.settled("resend-3", "accepted").await.attempts, 1);
    assert_eq!(stage.db.count("attempts where outcome = 'unknown'").await, 0, "all is known in the end");
    assert_eq!(stage.gateway.submissions().len(), 3, "each once");
    stage.finish().await;
}

/// Taken for lost, to be sent again, and out of time for that: it was sent all the same, and that is what counts.
#[tokio::test]
async fn a_late_acceptance_lands_on_a_job_that_has_come_to_its_end() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "5m");
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("gateway.timeout", "60s");
    stage.start().await;
    gateway.stall_answers();
    stage.publish("high", &jobs("resend", 1, 2)).await;
    stage.submissions(2).await;
    stage.db.execute("update jobs set claimed_until = now() - interval '1 s'").await;
    stage.states("waiting/retry 2").await;
    stage.db.execute("update jobs set expires_at = now() - interval '1 s' where id = 'resend-1'").await;
    dispatcher(&["jobs", "cancel", "resend-2"]).postgres(&stage.db.url).ok();
    stage.states("cancelled 1, expired 1").await;
    gateway.resume();
    stage.states("accepted 2").await;
    assert_eq!(stage.db.count("jobs where smsid is not null and code = 2").await, 2);
    assert_eq!(stage.gateway.submissions().len(), 2, "each once");
    assert_eq!(stage.db.count("attempts where outcome = 'accepted'").await, 2);
    stage.finish().await;
}

/// The owner is cut off from everything but the gateway, and another process takes its place.
#[tokio::test]
async fn an_owner_that_was_cut_off_brings_its_outcome_home() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    let direct = [("postgres.url", stage.db.url.clone()), ("rabbitmq.url", stage.broker.url.clone())];
    let (postgres, url) = proxy::before(&direct[0].1).await;
    stage.set("postgres.url", &url);
    let (rabbitmq, url) = proxy::before(&direct[1].1).await;
    stage.set("rabbitmq.url", &url);
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("gateway.timeout", "30s");
    stage.gateway.script(&number(2), vec![refused()]);
    let owner = stage.process();
    owner.ready().await;
    gateway.stall_answers();
    stage.publish("high", &[jobs("hold", 1, 1), jobs("resend", 2, 1)].concat()).await;
    stage.submissions(2).await;
    postgres.refuse();
    rabbitmq.refuse();

    direct.iter().for_each(|(key, url)| stage.set(key, url));
    stage.start().await;
    after_the_copies(&stage).await;
    assert_eq!(stage.db.states().await, "expired 1, submitting 2");
    gateway.resume();
    postgres.resume();
    rabbitmq.resume();
    stage.settled("hold-1", "accepted").await;
    stage.settled("resend-2", "failed").await;
    owner.ready().await;
    let (status, log) = owner.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(stage.gateway.submissions().len(), 2, "each once");
    stage.finish().await;
}

/// A message that was given out and came back so often is kept in Postgres at once.
const WEARY: usize = 5;

#[tokio::test]
async fn the_copy_of_a_parked_job_that_came_again_too_often_holds_nothing_up() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.db.execute("update accounts set state = 'paused', paused_by = 'operator', paused_at = now()").await;
    stage.metric("account_paused", &[], 1.0).await;
    let parked = job("parked", &number(1));
    stage.publish("normal", [&parked]).await;
    stage.states("waiting/account_paused 1").await;
    stage.stop().await;
    // As a former owner leaves it that could not acknowledge the message of a job that waits for room.
    stage.db.execute("update jobs set wait_reason = 'rate_limited', due_at = now()").await;
    stage.db.execute("update accounts set state = 'active', paused_by = null, paused_at = null").await;
    stage.publish("normal", [&parked]).await;
    stage.broker.give_back(&stage.broker.queue("normal"), WEARY).await;
    stage.start().await;
    stage.settled("parked", "accepted").await;
    let received = stage.scrape().await.sum("jobs_received_total", &[]);
    assert!(received <= 3.0, "it came {received} times: released and parked again and again");
    assert_eq!(stage.gateway.submissions().len(), 1);
    stage.flush("normal").await;
    stage.finish().await;
}
