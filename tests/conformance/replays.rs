//! Replays: what was chosen goes once, at its pace, behind its canary, and the replay ends.

use std::time::Duration;

use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::job::{Job, Outcome, State};
use dispatcher::store::operate::{Control, ReplayOrder};
use dispatcher::store::query::JobFilter;

use super::*;

fn order(states: &[State]) -> ReplayOrder {
    let filter = JobFilter { states: states.to_vec(), ..JobFilter::default() };
    ReplayOrder { filter, rate: 100_000.0, canary: 0, expires_in: None }
}

async fn failed(pg: &Pg, id: &str) {
    pg.claimed(id).await;
    assert!(pg.record(id, 1, Outcome::Permanent, Next::Failed).await);
}

/// Every replay sends what it may send now: one that had nothing to send is due again after 200 ms.
async fn step(pg: &Pg) {
    for _ in 0..20 {
        pg.upkeep.replay(pg.now(), 100).await.unwrap();
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// What is due is released, claimed, and ends like this.
async fn again(pg: &Pg, id: &str, request: u32, outcome: Outcome, next: Next) {
    let claimed = pg.readmit(id, From::Queued, Entry::Claim).await;
    assert_eq!(claimed, Readmitted::Claimed(Claim { attempts: 1, request }), "a fresh budget");
    assert!(pg.record(id, request, outcome, next).await);
}

async fn released(pg: &Pg) -> Vec<String> {
    ids(&pg.upkeep.release_due(pg.now() + chrono::Duration::seconds(1), 100).await.unwrap())
}

/// The replay's state, its canary's, and how many jobs came to each result.
async fn seen(pg: &Pg, id: i64) -> String {
    pg.upkeep.replay_results().await.unwrap();
    let (state, canary, results) = pg.look.replay(id).await;
    let counts: Vec<String> = results.iter().map(|(result, jobs)| format!("{result} {jobs}")).collect();
    format!("{state}, {canary}: {}", counts.join(", "))
}

pub async fn what_was_chosen_is_sent_again_in_order_and_once(pg: Pg) {
    failed(&pg, "a").await;
    failed(&pg, "b").await;
    pg.claimed("c").await;
    assert!(pg.record("c", 1, Outcome::Unknown, Next::InDoubt).await);
    let id = pg.look.begin_replay(order(&[State::Failed])).await.unwrap();
    failed(&pg, "later").await;
    assert_eq!(seen(&pg, id).await, "running, none: pending 2");
    step(&pg).await;
    assert_eq!(seen(&pg, id).await, "running, none: sent 2");
    assert_eq!(released(&pg).await, ["a", "b"]);
    again(&pg, "a", 2, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, id).await, "running, none: accepted 1, sent 1");
    again(&pg, "b", 2, Outcome::Permanent, Next::Failed).await;
    assert_eq!(seen(&pg, id).await, "done, none: accepted 1, failed 1");
    step(&pg).await;
    assert!(released(&pg).await.is_empty(), "what fails again does not join");
    assert_eq!((pg.state("later").await, pg.state("c").await), (State::Failed, State::InDoubt));
}

pub async fn two_replays_send_a_job_once(pg: Pg) {
    failed(&pg, "a").await;
    pg.claimed("b").await;
    assert!(pg.record("b", 1, Outcome::Unknown, Next::InDoubt).await);
    let both = order(&[State::Failed, State::InDoubt]);
    let first = pg.look.begin_replay(both.clone()).await.unwrap();
    let second = pg.look.begin_replay(both).await.unwrap();
    pg.look.control_replay(second, Control::Pause).await;
    step(&pg).await;
    released(&pg).await;
    again(&pg, "a", 2, Outcome::Permanent, Next::Failed).await;
    again(&pg, "b", 2, Outcome::Accepted, Next::Accepted).await;
    pg.look.control_replay(second, Control::Resume).await;
    step(&pg).await;
    assert!(released(&pg).await.is_empty());
    assert_eq!(seen(&pg, first).await, "done, none: accepted 1, failed 1");
    assert_eq!(seen(&pg, second).await, "done, none: skipped 2");
}

pub async fn a_canary_holds_the_others_back(pg: Pg) {
    for id in ["a", "b", "c"] {
        failed(&pg, id).await;
    }
    let id = pg.look.begin_replay(ReplayOrder { canary: 1, ..order(&[State::Failed]) }).await.unwrap();
    step(&pg).await;
    assert_eq!(seen(&pg, id).await, "running, going: pending 2, sent 1");
    assert_eq!(released(&pg).await, ["a"]);
    again(&pg, "a", 2, Outcome::Permanent, Next::Failed).await;
    assert_eq!(seen(&pg, id).await, "paused, failed: failed 1, pending 2");
    step(&pg).await;
    assert!(released(&pg).await.is_empty());
    pg.look.control_replay(id, Control::Resume).await;
    step(&pg).await;
    assert_eq!(released(&pg).await, ["b", "c"], "an operator wanted it so");
    // One that passes lets the others go by itself.
    again(&pg, "b", 2, Outcome::Permanent, Next::Failed).await;
    again(&pg, "c", 2, Outcome::Permanent, Next::Failed).await;
    let id = pg.look.begin_replay(ReplayOrder { canary: 2, ..order(&[State::Failed]) }).await.unwrap();
    step(&pg).await;
    assert_eq!(released(&pg).await, ["a", "b"]);
    again(&pg, "a", 3, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, id).await, "running, going: accepted 1, pending 1, sent 1");
    again(&pg, "b", 3, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, id).await, "running, passed: accepted 2, pending 1");
    step(&pg).await;
    assert_eq!(released(&pg).await, ["c"]);
}

/// The first has moved what the second chose: that says nothing of the second's own jobs.
async fn two_with_a_canary(pg: &Pg) -> (i64, i64) {
    let canary = ReplayOrder { canary: 2, ..order(&[State::Failed]) };
    let first = pg.look.begin_replay(canary.clone()).await.unwrap();
    let second = pg.look.begin_replay(canary).await.unwrap();
    pg.look.control_replay(second, Control::Pause).await;
    step(pg).await;
    pg.look.control_replay(second, Control::Resume).await;
    step(pg).await;
    (first, second)
}

pub async fn a_canary_is_of_jobs_that_went(pg: Pg) {
    for id in ["a", "b", "c", "d", "e"] {
        failed(&pg, id).await;
    }
    let (first, second) = two_with_a_canary(&pg).await;
    assert_eq!(seen(&pg, first).await, "running, going: pending 3, sent 2");
    assert_eq!(seen(&pg, second).await, "running, going: pending 1, sent 2, skipped 2");
    step(&pg).await;
    assert_eq!(released(&pg).await, ["a", "b", "c", "d"], "two of each");
    again(&pg, "c", 2, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, second).await, "running, going: accepted 1, pending 1, sent 1, skipped 2");
    again(&pg, "d", 2, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, second).await, "running, passed: accepted 2, pending 1, skipped 2");
    step(&pg).await;
    assert_eq!(released(&pg).await, ["e"]);
    assert_eq!(seen(&pg, first).await, "running, going: pending 3, sent 2", "its own two are still under way");
}

pub async fn a_canary_that_finds_too_few_ends_with_them(pg: Pg) {
    for id in ["a", "b", "c"] {
        failed(&pg, id).await;
    }
    let (_, second) = two_with_a_canary(&pg).await;
    assert_eq!(seen(&pg, second).await, "running, going: sent 1, skipped 2");
    released(&pg).await;
    again(&pg, "c", 2, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, second).await, "done, passed: accepted 1, skipped 2");
}

/// It expired, one replay sent it again, and it expired again. The other chose it before all that.
pub async fn what_came_back_to_where_it_was_is_not_what_was_chosen(pg: Pg) {
    let late = Job { expires_at: Some(pg.now() - chrono::Duration::seconds(60)), ..job("late") };
    assert_eq!(pg.admit(late, Entry::Expired).await, Admitted::Stored);
    let wanted = ReplayOrder { expires_in: Some(Duration::from_secs(600)), ..order(&[State::Expired]) };
    let first = pg.look.begin_replay(wanted.clone()).await.unwrap();
    let second = pg.look.begin_replay(wanted).await.unwrap();
    pg.look.control_replay(second, Control::Pause).await;
    step(&pg).await;
    let later = pg.now() + chrono::Duration::seconds(1_000);
    assert_eq!(pg.upkeep.expire(later, 10).await.unwrap().len(), 1);
    pg.look.control_replay(second, Control::Resume).await;
    step(&pg).await;
    assert_eq!(seen(&pg, second).await, "done, none: skipped 1");
    assert_eq!((seen(&pg, first).await.as_str(), pg.state("late").await), ("done, none: expired 1", State::Expired));
}

pub async fn a_replay_keeps_its_pace_and_its_end(pg: Pg) {
    for id in ["a", "b", "c"] {
        failed(&pg, id).await;
    }
    let id = pg.look.begin_replay(ReplayOrder { rate: 0.001, ..order(&[State::Failed]) }).await.unwrap();
    step(&pg).await;
    assert_eq!(seen(&pg, id).await, "running, none: pending 2, sent 1");
    pg.look.control_replay(id, Control::Pause).await;
    assert!(!pg.upkeep.replay(pg.now(), 100).await.unwrap());
    pg.look.control_replay(id, Control::Resume).await;
    step(&pg).await;
    assert_eq!(seen(&pg, id).await, "running, none: pending 1, sent 2");
    pg.look.control_replay(id, Control::Cancel).await;
    pg.look.control_replay(id, Control::Resume).await;
    step(&pg).await;
    assert_eq!(seen(&pg, id).await, "cancelled, none: pending 1, sent 2");
}

pub async fn what_has_expired_needs_a_new_expiry(pg: Pg) {
    let late = Job { expires_at: Some(pg.now() - chrono::Duration::seconds(60)), ..job("late") };
    assert_eq!(pg.admit(late, Entry::Expired).await, Admitted::Stored);
    assert_eq!(pg.look.begin_replay(order(&[State::Expired])).await, None);
    let wanted = ReplayOrder { expires_in: Some(Duration::from_secs(600)), ..order(&[State::Expired]) };
    assert!(pg.look.begin_replay(wanted).await.is_some());
    step(&pg).await;
    let soon = pg.now() + chrono::Duration::seconds(300);
    assert!(pg.upkeep.expire(soon, 10).await.unwrap().is_empty());
    assert_eq!(released(&pg).await, ["late"]);
    // A copy that the broker still had from before says that its time is over.
    let copy = pg.readmit("late", From::Queued, Entry::Expired).await;
    assert_eq!(copy, Readmitted::Elsewhere(State::Queued));
    let claimed = pg.readmit("late", From::Queued, Entry::Claim).await;
    assert_eq!(claimed, Readmitted::Claimed(Claim { attempts: 1, request: 1 }));
}

pub async fn what_a_cancelled_replay_had_sent_still_comes_to_a_result(pg: Pg) {
    failed(&pg, "a").await;
    let id = pg.look.begin_replay(order(&[State::Failed])).await.unwrap();
    step(&pg).await;
    assert_eq!(released(&pg).await, ["a"]);
    pg.look.control_replay(id, Control::Cancel).await;
    assert_eq!(seen(&pg, id).await, "cancelled, none: sent 1");
    again(&pg, "a", 2, Outcome::Accepted, Next::Accepted).await;
    assert_eq!(seen(&pg, id).await, "cancelled, none: accepted 1");
}

/// The daemon's clock may be an hour away from Postgres': by which it is due, and until when, is read on that clock.
pub async fn a_replayed_job_is_due_by_the_clock_that_releases_it(pg: Pg) {
    failed(&pg, "a").await;
    let hour = chrono::Duration::hours(1);
    let clock = pg.now() - hour;
    pg.look.begin_replay(order(&[State::Failed])).await.unwrap();
    pg.upkeep.replay(clock, 100).await.unwrap();
    assert_eq!(ids(&pg.upkeep.release_due(clock, 100).await.unwrap()), ["a"]);
}
