//! SIGKILL: nothing is lost, and nothing is sent twice that may not be.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatcher::simulator::Scripted;
use serde_json::Value;

use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

/// As if the lease of the dead process's claims had passed. Returns how many there are.
async fn run_out(stage: &Stage) -> u64 {
    let connections = "pg_stat_activity where datname = current_database() and application_name like 'dispatcher%'";
    becomes("connections of the dead", 0, async || stage.db.count(connections).await).await;
    stage.db.execute("update jobs set claimed_until = now() - interval '1 s' where state = 'submitting'").await
}

fn jobs(kind: &str, from: usize, count: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut body = job(&format!("{kind}-{n}"), &number(n));
        body["on_unknown"] = if kind == "resend" { "resend" } else { "hold" }.into();
        body
    };
    (from..from + count).map(one).collect()
}

/// How often the gateway took a message for each number.
fn taken(stage: &Stage) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::new();
    for submit in stage.gateway.submissions() {
        *taken.entry(submit.mobile).or_default() += u32::from(submit.code == Some(2));
    }
    taken
}

#[tokio::test]
async fn after_a_kill_every_job_is_accounted_for() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "1");
    // Taken, but the process dies before it hears of it.
    let hanging: Vec<Value> = [jobs("hold", 0, 10), jobs("resend", 10, 10)].concat();
    (0..20).for_each(|n| stage.gateway.script(&number(n), vec![Scripted::Judged(Box::new(Scripted::Hang))]));
    let process = stage.process();
    process.ready().await;
    stage.publish("high", &hanging).await;
    stage.publish("normal", &jobs("plain", 100, 200)).await;
    eventually("all that hangs, and some of the others", async || {
        let taken = taken(&stage);
        if taken.len() >= 60 && (0..20).all(|n| taken.contains_key(&number(n))) { Ok(()) } else { Err(taken.len()) }
    })
    .await;
    process.kill().await;
    let before = taken(&stage);
    assert!((0..20).all(|n| before[&number(n)] == 1), "the gateway has taken what hangs");
    let open = run_out(&stage).await;
    assert!((20..100).contains(&open), "{open} were on the wire");

    stage.set("retry.initial", "10ms");
    stage.set("accounts.main.rate", "1000/s");
    // What was released, and not published any more.
    stage.tempo.lost = Duration::from_secs(2);
    stage.start().await;
    eventually("all are settled", async || {
        let settled = stage.db.count("jobs where state in ('accepted', 'in_doubt')").await;
        if settled == 220 { Ok(()) } else { Err(stage.db.states().await) }
    })
    .await;
    for (n, kind, times) in (0..10).map(|n| (n, "hold", 1)).chain((10..20).map(|n| (n, "resend", 2))) {
        let row = stage.db.job(&format!("{kind}-{n}")).await.unwrap();
        let state = if kind == "hold" { "in_doubt" } else { "accepted" };
        assert_eq!((row.state.as_str(), row.attempts), (state, times), "{}", row.id);
        assert_eq!(taken(&stage)[&number(n)], times as u32);
    }
    // The others were each sent once at most; one that is not known to be taken says so.
    let after = taken(&stage);
    for n in 100..300 {
        let row = stage.db.job(&format!("plain-{n}")).await.unwrap();
        let sent = after.get(&number(n)).copied().unwrap_or_default();
        assert!(sent <= 1, "{} was taken {sent} times", row.id);
        assert!(sent == 1 || row.state == "in_doubt", "{} is {} and was not taken", row.id, row.state);
    }
    let unknown = stage.db.count("attempts where outcome = 'unknown'").await;
    assert_eq!(unknown as u64, open);
    stage.metric("jobs_in_doubt", &[], (open - 10) as f64).await;
    stage.flush("high").await;
    stage.flush("normal").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_claim_protects_its_attempt_until_it_runs_out() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.gateway.script(&number(1), vec![Scripted::Hang]);
    let process = stage.process();
    process.ready().await;
    stage.publish("high", &jobs("hold", 1, 1)).await;
    stage.submissions(1).await;
    process.kill().await;
    stage.start().await;
    // A job published now goes all the way, and the old message is settled before it.
    stage.publish("high", &jobs("later", 2, 1)).await;
    stage.states("accepted 1, submitting 1").await;
    assert_eq!(stage.gateway.submissions().len(), 2, "the claimed one is left alone");
    stage.db.execute("update jobs set claimed_until = now() where state = 'submitting'").await;
    let row = stage.settled("hold-1", "in_doubt").await;
    assert_eq!((row.code, row.attempts), (None, 1));
    assert_eq!(stage.db.attempts("hold-1").await, [("unknown".to_owned(), None)]);
    stage.flush("high").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_standby_takes_over_what_a_killed_one_leaves() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("accounts.main.rate", "50/s");
    stage.set("accounts.main.burst", "1");
    let active = stage.process();
    active.ready().await;
    stage.publish("normal", &jobs("plain", 0, 100)).await;
    stage.submissions(10).await;
    // Ready as a standby, and quiet while the other lives.
    stage.tempo.lost = Duration::from_secs(2);
    stage.start().await;
    stage.metric("jobs_received_total", &[], 0.0).await;
    active.kill().await;
    // The standby's own claims are fresh: only those of before its first delivery are the dead one's.
    becomes("all are known", 100, async || stage.db.count("jobs").await).await;
    becomes("one process's claims", 0, async || {
        stage.db.count("jobs where state = 'submitting' and updated_at > now() - interval '3 s'").await
    })
    .await;
    stage.db.execute("update jobs set claimed_until = now() where state = 'submitting'").await;
    becomes("all", 100, async || stage.db.count("jobs where state in ('accepted', 'in_doubt')").await).await;
    assert!(taken(&stage).values().all(|times| *times == 1));
    stage.flush("normal").await;
    stage.finish().await;
}
