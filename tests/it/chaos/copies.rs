//! A delivery comes back while its first owner lives: the second copy neither sends nor doubts.

use std::time::Duration;

use dispatcher::simulator::Scripted;

use super::books::jobs;
use crate::support::number;
use crate::support::proxy;
use crate::support::stage::Stage;

/// Answered, but late.
fn late(answer: Scripted) -> Vec<Scripted> {
    vec![Scripted::Delay(Duration::from_secs(3), Box::new(answer))]
}

fn refused() -> Scripted {
    Scripted::Code(4030, "手机号码已被列入黑名单".into())
}

#[tokio::test]
async fn a_second_copy_leaves_the_first_ones_attempt_alone() {
    let mut stage = Stage::new().await;
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    stage.tempo.reconnect = Duration::from_millis(10);
    stage.gateway.script(&number(1), late(Scripted::Normal));
    stage.gateway.script(&number(2), late(refused()));
    stage.start().await;
    stage.publish("high", &[jobs("hold", 1, 1), jobs("resend", 2, 1)].concat()).await;
    stage.submissions(2).await;
    rabbitmq.cut();
    // The copies have come, and whatever they do is done: one published after them goes all the way.
    stage.publish("high", &jobs("after", 3, 1)).await;
    stage.settled("after-3", "accepted").await;
    assert_eq!(stage.db.states().await, "accepted 1, submitting 2");
    stage.settled("hold-1", "accepted").await;
    stage.settled("resend-2", "failed").await;
    assert_eq!(stage.gateway.submissions().len(), 3, "each once");
    assert_eq!(stage.db.count("jobs where attempts <> 1").await, 0);
    assert_eq!(stage.db.count("events where type = 'job.in_doubt'").await, 0);
    stage.metric("duplicates_total", &[], 0.0).await;
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

/// The owner is cut off from everything but the gateway, and another process takes its place.
#[tokio::test]
async fn an_owner_that_was_cut_off_brings_its_outcome_home() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    let (direct_postgres, direct_rabbitmq) = (stage.db.url.clone(), stage.broker.url.clone());
    let (postgres, url) = proxy::before(&direct_postgres).await;
    stage.set("postgres.url", &url);
    let (rabbitmq, url) = proxy::before(&direct_rabbitmq).await;
    stage.set("rabbitmq.url", &url);
    stage.gateway.script(&number(1), late(Scripted::Normal));
    stage.gateway.script(&number(2), late(refused()));
    let owner = stage.process();
    owner.ready().await;
    stage.publish("high", &[jobs("hold", 1, 1), jobs("resend", 2, 1)].concat()).await;
    stage.submissions(2).await;
    postgres.refuse();
    rabbitmq.refuse();

    stage.set("postgres.url", &direct_postgres);
    stage.set("rabbitmq.url", &direct_rabbitmq);
    stage.start().await;
    stage.publish("high", &jobs("after", 3, 1)).await;
    stage.settled("after-3", "accepted").await;
    assert_eq!(stage.db.states().await, "accepted 1, submitting 2");
    postgres.resume();
    rabbitmq.resume();
    stage.settled("hold-1", "accepted").await;
    stage.settled("resend-2", "failed").await;
    owner.ready().await;
    let (status, log) = owner.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(stage.gateway.submissions().len(), 3, "each once");
    stage.finish().await;
}
