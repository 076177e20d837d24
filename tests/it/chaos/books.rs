//! The books of a test: what was published, what Postgres says of it, and what the gateway's own log says.

use std::collections::BTreeMap;

use dispatcher::simulator::Submission;
use serde_json::Value;
use sqlx::FromRow;

use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

/// As if the lease of the dead process's claims had passed. Returns how many there are.
pub async fn run_out(stage: &Stage) -> u64 {
    let connections = "pg_stat_activity where datname = current_database() and application_name like 'dispatcher%'";
    becomes("connections of the dead", 0, async || stage.db.count(connections).await).await;
    stage.db.execute("update jobs set claimed_until = now() - interval '1 s' where state = 'submitting'").await
}

/// Jobs `kind-from`, … for a number each; those of the kind `resend` are to be sent again when in doubt.
pub fn jobs(kind: &str, from: usize, count: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut body = job(&format!("{kind}-{n}"), &number(n));
        body["on_unknown"] = if kind == "resend" { "resend" } else { "hold" }.into();
        body
    };
    (from..from + count).map(one).collect()
}

/// How often the gateway took a message for each number.
pub fn taken(stage: &Stage) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::new();
    for submit in stage.gateway.submissions() {
        *taken.entry(submit.mobile).or_default() += u32::from(submit.code == Some(2));
    }
    taken
}

/// Waits until so many jobs have come to an end, or to a doubt.
pub async fn all_settled(stage: &Stage, count: usize) {
    let ended = "jobs where state in ('accepted', 'failed', 'in_doubt')";
    eventually("all are settled", async || {
        let settled = stage.db.count(ended).await;
        if settled == count as i64 { Ok(()) } else { Err(stage.db.states().await) }
    })
    .await;
}

#[derive(Debug, FromRow)]
struct Line {
    id: String,
    mobile: String,
    state: String,
    on_unknown: String,
    attempts: i32,
    smsid: Option<String>,
    /// Attempts whose outcome nobody knows.
    unknown: i64,
    rows: i64,
}

/// Compares, job by job. Each job has a number of its own; `limit` is `retry.max_attempts`.
pub async fn balance(stage: &Stage, published: &[Value], limit: usize) {
    let sql = "select id, mobile, state, on_unknown, attempts, smsid,
                   (select count(*) from attempts where job_id = id and outcome = 'unknown') as unknown,
                   (select count(*) from attempts where job_id = id) as rows
               from jobs order by id";
    let lines: Vec<Line> = sqlx::query_as(sql).fetch_all(&stage.db.pool).await.unwrap();
    let mut known: Vec<&str> = lines.iter().map(|line| line.id.as_str()).collect();
    let mut wanted: Vec<&str> = published.iter().map(|job| job["id"].as_str().unwrap()).collect();
    known.sort();
    wanted.sort();
    assert_eq!(known, wanted, "none is lost, none is invented");
    let mut log: BTreeMap<String, Vec<Submission>> = BTreeMap::new();
    for submit in stage.gateway.submissions() {
        log.entry(submit.mobile.clone()).or_default().push(submit);
    }
    for line in &lines {
        check(line, log.get(&line.mobile).map_or(&[], Vec::as_slice), limit);
    }
}

fn check(line: &Line, sent: &[Submission], limit: usize) {
    let once = if line.on_unknown == "hold" { line.unknown == 0 || sent.len() <= 1 } else { true };
    assert!(once, "sent again although it was in doubt: {line:?} {sent:?}");
    assert!(sent.len() as i64 <= line.rows, "a request without its claim: {line:?} {sent:?}");
    assert!(sent.len() <= limit && line.attempts as usize <= limit, "beyond the limit of attempts: {line:?}");
    // An answer that was lost is doubted; all others were heard.
    let heard = sent.iter().filter(|submit| submit.code == Some(2)).count();
    assert!(heard as i64 <= 1 + line.unknown, "taken twice without a doubt: {line:?} {sent:?}");
    match line.state.as_str() {
        "accepted" => {
            let said = sent.iter().any(|submit| submit.code == Some(2) && Some(&submit.smsid) == line.smsid.as_ref());
            assert!(said, "accepted, and the gateway did not say so: {line:?} {sent:?}");
        }
        "in_doubt" => assert!(line.unknown > 0 && line.on_unknown == "hold", "no doubt: {line:?}"),
        "failed" => assert!(sent.iter().all(|submit| submit.code != Some(2)) || line.unknown > 0, "{line:?} {sent:?}"),
        other => panic!("{other} is no end: {line:?}"),
    }
}
