//! The outbox: written with the change, read in order, deleted when told.

use chrono::Duration;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::event::{Event, JOB_DATA};
use dispatcher::domain::job::{Job, Outcome};
use serde_json::{Value, json};

use super::*;

pub async fn each_fact_is_there_once_and_in_order(pg: Pg) {
    let now = pg.now();
    pg.claimed("doubted").await;
    pg.claimed("failed").await;
    pg.claimed("retried").await;
    assert!(pg.record("doubted", 1, Outcome::Unknown, Next::InDoubt).await);
    assert!(pg.record("retried", 1, Outcome::Retry, retry_at(now)).await);
    assert!(pg.record("failed", 1, Outcome::Permanent, Next::Failed).await);
    assert!(!pg.record("failed", 1, Outcome::Permanent, Next::Failed).await);
    pg.admit(job("expired"), Entry::Expired).await;
    pg.admit(job("expired"), Entry::Expired).await;
    pg.queued("released").await;
    pg.readmit("released", From::Queued, Entry::Expired).await;
    pg.admit(Job { expires_at: Some(now), ..job("waited") }, wait_for_room()).await;
    pg.upkeep.expire(now + Duration::seconds(1), 10).await.unwrap();
    assert!(pg.record("doubted", 1, Outcome::Accepted, Next::Accepted).await);
    let expected = [
        "job.in_doubt doubted",
        "job.failed failed",
        "job.expired expired",
        "job.expired released",
        "job.expired waited",
        "job.accepted doubted",
    ];
    assert_eq!(pg.kinds().await, expected);
    assert_eq!(pg.upkeep.waiting(&[]).await.unwrap().events, 6);
}

pub async fn what_is_done_goes_and_what_is_aside_stays(pg: Pg) {
    for id in ["a", "b", "c", "d", "e"] {
        pg.admit(job(id), Entry::Expired).await;
    }
    let turn = async |done: &[i64], aside: &[i64], limit| pg.outbox.turn(done, aside, limit).await.unwrap();
    let jobs = |events: &[Event]| -> String { events.iter().filter_map(|event| event.job_id.clone()).collect() };
    let all = turn(&[], &[], 100).await;
    let number = |index: usize| all[index].number;
    assert_eq!(jobs(&all), "abcde");
    assert_eq!(jobs(&turn(&[], &[], 2).await), "ab");
    assert_eq!(jobs(&turn(&[number(1)], &[number(0)], 2).await), "cd");
    assert_eq!(jobs(&turn(&[number(1)], &[], 100).await), "acde", "deleting twice is no error");
    assert_eq!(jobs(&turn(&[number(0), number(4)], &[], 0).await), "");
    assert_eq!(turn(&[], &[], 100).await, [all[2].clone(), all[3].clone()], "they are as they were");
}

pub async fn an_event_says_what_became_of_the_job(pg: Pg) {
    let metadata = Some("{\"order\":[1,\"二\"]}".into());
    assert_eq!(pg.admit(Job { metadata, ..job("a") }, Entry::Claim).await, FIRST);
    assert!(pg.record("a", 1, Outcome::Accepted, Next::Accepted).await);
    let event = pg.outbox.turn(&[], &[], 1).await.unwrap().remove(0);
    let mut data: Value = serde_json::from_str(&event.data).unwrap();
    let mut members: Vec<&str> = data.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let mut expected = JOB_DATA.to_vec();
    expected.sort_unstable();
    assert_eq!(members, expected);
    let at: Timestamp = serde_json::from_value(data["at"].take()).unwrap();
    assert_eq!(at, event.at);
    assert!((pg.now() - at).abs() < Duration::seconds(60), "{at}");
    let told = json!({
        "id": "a", "mobile": "13800138000", "account": "main", "state": "accepted", "code": 2, "message": "words",
        "smsid": "77", "metadata": { "order": [1, "二"] }, "at": null,
    });
    assert_eq!(data, told);
}
