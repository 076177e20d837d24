//! A backlog of one kind holds up no other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dispatcher::simulator::{Account, Options, Submission};
use serde_json::Value;

use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually, job, number};

fn jobs(kind: &str, account: &str, from: usize, count: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut body = job(&format!("{kind}-{n}"), &number(n));
        body["account"] = account.into();
        body["content"] = kind.into();
        body
    };
    (from..from + count).map(one).collect()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

async fn first(stage: &Stage, kind: &str) -> Submission {
    eventually(kind, async || {
        let submissions = stage.gateway.submissions();
        submissions.into_iter().find(|submit| submit.content == kind).ok_or("not sent yet")
    })
    .await
}

/// 3,000 bulk jobs at 100 a second, half a minute's worth, well under way.
async fn behind_a_backlog() -> Stage {
    let accounts = vec![Account::new("C0", "key-0"), Account::new("C1", "key-1")];
    let mut stage = Stage::with(Options { accounts, ..lenient() }).await;
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "10");
    stage.start().await;
    stage.publish("bulk", &jobs("bulk", "main", 0, 3_000)).await;
    // What is parked comes back behind what has never been looked at.
    becomes("all have been looked at", 3_000, async || stage.db.count("jobs").await).await;
    stage
}

#[tokio::test]
async fn a_high_job_and_another_accounts_do_not_wait() {
    let stage = behind_a_backlog().await;
    let (mut high_waits, mut other_waits) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let (high, other) = (format!("high {round}"), format!("other {round}"));
        stage.publish("high", &jobs(&high, "main", 10_000 + round, 1)).await;
        stage.publish("bulk", &jobs(&other, "a1", 20_000 + round, 1)).await;
        let published = now();
        high_waits.push(first(&stage, &high).await.at - published);
        other_waits.push(first(&stage, &other).await.at - published);
    }
    // The usual wait: a busy machine may stand still for a second by itself.
    for waits in [&mut high_waits, &mut other_waits] {
        waits.sort_by(f64::total_cmp);
        assert!(waits[2] < 1.0, "{waits:?} s");
    }
    let bulk = stage.gateway.submissions().iter().filter(|submit| submit.content == "bulk").count();
    assert!(bulk < 2_000, "the backlog was still there: {bulk}");
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn lower_priorities_get_one_token_in_ten() {
    let stage = behind_a_backlog().await;
    stage.publish("high", &jobs("high", "main", 10_000, 500)).await;
    stage.publish("normal", &jobs("normal", "main", 20_000, 500)).await;
    let flooded = eventually("400 high jobs", async || {
        let submissions = stage.gateway.submissions();
        let high = submissions.iter().filter(|submit| submit.content == "high").count();
        if high >= 400 { Ok(submissions) } else { Err(high) }
    })
    .await;
    // A letter for each submit, in order. The first tokens went before all three kinds waited: normal jobs came last.
    let from = flooded.iter().position(|submit| submit.content == "normal").unwrap();
    let order: String = flooded[from..].iter().map(|submit| &submit.content[..1]).collect();
    let share = |kind: char| order.matches(kind).count() as f64 / order.len() as f64;
    assert!(share('b') >= 0.08 && share('n') >= 0.08, "{} {} {order}", share('b'), share('n'));
    assert!(share('h') >= 0.7, "{order}");
    stage.finish_with_backlog().await;
}
