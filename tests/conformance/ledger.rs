//! The path of a job: each answer is about one row, and a batch may be given again after a failure.

use chrono::Duration;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::job::{Outcome, Payload, State};
use dispatcher::domain::message::{RejectReason, Rejection};

use super::*;

pub async fn an_id_is_claimed_once(pg: Pg) {
    let other = Job { payload: Payload::Text("another text".into()), ..job("a") };
    let rows = [
        pg.admission(job("a"), Entry::Claim),
        pg.admission(job("b"), Entry::Expired),
        pg.admission(job("a"), Entry::Claim),
        pg.admission(job("c"), wait_for_room()),
    ];
    let answers = pg.ledger.admit(&rows).await.unwrap();
    let repeat = Admitted::Repeat(State::Submitting);
    assert_eq!([answers[1], answers[3]], [Admitted::Stored, Admitted::Stored]);
    let twice = [answers[0], answers[2]];
    assert!(twice == [FIRST, repeat] || twice == [repeat, FIRST], "one of two in a batch: {twice:?}");
    assert_eq!(pg.admit(job("a"), Entry::Claim).await, repeat);
    assert_eq!(pg.admit(other, Entry::Claim).await, Admitted::Conflict);
    assert_eq!(pg.state("b").await, State::Expired);
    assert_eq!(pg.state("c").await, State::Waiting);
}

pub async fn a_lost_answer_is_found_again(pg: Pg) {
    let rows = [pg.admission(job("a"), Entry::Claim), pg.admission(job("b"), wait_for_room())];
    for _ in 0..2 {
        assert_eq!(pg.ledger.admit(&rows).await.unwrap(), [FIRST, Admitted::Stored]);
    }
    pg.queued("c").await;
    let rows = [pg.readmission("c", From::Queued, Entry::Claim)];
    for _ in 0..2 {
        let claim = Claim { attempts: 1, request: 1 };
        assert_eq!(pg.ledger.readmit(&rows).await.unwrap(), [Readmitted::Claimed(claim)]);
    }
    let rows = [record("a", 1, Outcome::Accepted, Next::Accepted)];
    assert_eq!(pg.ledger.record(&rows).await.unwrap(), [true]);
    assert_eq!(pg.ledger.record(&rows).await.unwrap(), [false], "it is there, and nothing more is done");
    assert_eq!(pg.state("a").await, State::Accepted);
}

pub async fn a_row_at_fault_refuses_the_batch(pg: Pg) {
    let bad = Job { payload: Payload::Text("\0".into()), ..job("bad") };
    let rows = [pg.admission(job("good"), Entry::Claim), pg.admission(bad, Entry::Claim)];
    assert!(matches!(pg.ledger.admit(&rows).await, Err(LedgerError::Refused(_))));
    assert_eq!(pg.ledger.admit(&rows[..1]).await.unwrap(), [FIRST], "nothing of it was stored");
}

pub async fn a_released_job_is_claimed_by_one_copy(pg: Pg) {
    pg.queued("a").await;
    let rows = [pg.readmission("a", From::Queued, Entry::Claim), pg.readmission("a", From::Queued, Entry::Claim)];
    let answers = pg.ledger.readmit(&rows).await.unwrap();
    let claimed = Readmitted::Claimed(Claim { attempts: 1, request: 1 });
    let elsewhere = Readmitted::Elsewhere(State::Submitting);
    assert!(answers == [claimed, elsewhere] || answers == [elsewhere, claimed], "{answers:?}");
    assert_eq!(pg.readmit("a", From::Queued, wait_for_room()).await, elsewhere);
    assert_eq!(pg.readmit("unknown", From::Queued, Entry::Claim).await, Readmitted::Missing);
}

pub async fn a_job_is_claimed_again_only_where_it_was_left(pg: Pg) {
    pg.claimed("a").await;
    let again = Next::Again { due_at: pg.now() + Duration::seconds(5) };
    assert_eq!(pg.readmit("a", From::Again(1), Entry::Claim).await, Readmitted::Elsewhere(State::Submitting));
    assert!(pg.record("a", 1, Outcome::Resign, again).await);
    assert_eq!(pg.readmit("a", From::Again(2), Entry::Claim).await, Readmitted::Elsewhere(State::Waiting));
    let second = Readmitted::Claimed(Claim { attempts: 2, request: 2 });
    assert_eq!(pg.readmit("a", From::Again(1), Entry::Claim).await, second);
}

pub async fn an_outcome_ends_its_own_attempt_only(pg: Pg) {
    pg.claimed("a").await;
    assert!(!pg.record("a", 2, Outcome::Permanent, Next::Failed).await, "there is no second attempt");
    assert!(pg.record("a", 1, Outcome::Retry, retry_at(pg.now())).await);
    pg.upkeep.release_due(pg.now() + Duration::seconds(1), 10).await.unwrap();
    assert_eq!(
        pg.readmit("a", From::Queued, Entry::Claim).await,
        Readmitted::Claimed(Claim { attempts: 2, request: 2 })
    );
    assert!(!pg.record("a", 1, Outcome::Permanent, Next::Failed).await, "its attempt is over");
    assert!(pg.record("a", 2, Outcome::Permanent, Next::Failed).await);
    assert_eq!(pg.state("a").await, State::Failed);
}

pub async fn a_late_acceptance_lands_and_a_late_failure_does_not(pg: Pg) {
    for id in ["doubted", "resent", "released"] {
        pg.claimed(id).await;
    }
    assert!(pg.record("doubted", 1, Outcome::Unknown, Next::InDoubt).await);
    let past = pg.now() - Duration::seconds(60);
    for id in ["resent", "released"] {
        assert!(pg.record(id, 1, Outcome::Unknown, retry_at(past)).await);
    }
    assert_eq!(ids(&pg.upkeep.release_due(pg.now(), 1).await.unwrap()).len(), 1);
    for id in ["resent", "released"] {
        assert!(!pg.record(id, 1, Outcome::Permanent, Next::Failed).await);
    }
    for id in ["doubted", "resent", "released"] {
        assert!(pg.record(id, 1, Outcome::Accepted, Next::Accepted).await, "{id}");
        assert_eq!(pg.state(id).await, State::Accepted);
    }
}

pub async fn what_did_not_leave_gives_the_attempt_back(pg: Pg) {
    pg.claimed("a").await;
    let past = pg.now() - Duration::seconds(60);
    assert!(pg.record("a", 1, Outcome::NotSent, retry_at(past)).await);
    pg.upkeep.release_due(pg.now(), 10).await.unwrap();
    let second = Readmitted::Claimed(Claim { attempts: 1, request: 2 });
    assert_eq!(pg.readmit("a", From::Queued, Entry::Claim).await, second);
}

pub async fn a_correction_keeps_the_count_of_attempts(pg: Pg) {
    let past = pg.now() - Duration::seconds(60);
    // Taken for unknown, then known not to have left: while it is doubted the attempt is given back.
    pg.claimed("doubted").await;
    assert!(pg.record("doubted", 1, Outcome::Unknown, Next::InDoubt).await);
    assert!(pg.record("doubted", 1, Outcome::NotSent, retry_at(past)).await);
    // Where the job has gone on, it is too late: the attempt counts, and says `unknown`.
    pg.claimed("resent").await;
    assert!(pg.record("resent", 1, Outcome::Unknown, retry_at(past)).await);
    assert!(!pg.record("resent", 1, Outcome::NotSent, retry_at(past)).await);
    pg.upkeep.release_due(pg.now(), 10).await.unwrap();
    let claimed = |attempts| Readmitted::Claimed(Claim { attempts, request: 2 });
    assert_eq!(pg.readmit("doubted", From::Queued, Entry::Claim).await, claimed(1));
    assert_eq!(pg.readmit("resent", From::Queued, Entry::Claim).await, claimed(2));
    assert_eq!(pg.outcome("doubted", 1).await, Some(Outcome::NotSent));
    assert_eq!(pg.outcome("resent", 1).await, Some(Outcome::Unknown));
}

pub async fn a_doubt_does_not_land_on_a_doubt(pg: Pg) {
    pg.claimed("a").await;
    assert!(pg.record("a", 1, Outcome::Unknown, Next::InDoubt).await);
    assert!(!pg.record("a", 1, Outcome::Unknown, Next::InDoubt).await, "its owner hears nothing either");
    assert_eq!(pg.kinds().await, ["job.in_doubt a"], "and nobody is told twice");
}

/// A message that is no job, to be kept.
pub fn refusal() -> Refusal {
    Refusal {
        rejection: Rejection::new(RejectReason::BadJson, "the body is no valid JSON"),
        body: b"\x00\xff".as_slice().into(),
        properties: "{}".into(),
    }
}

pub async fn a_message_that_is_no_job_is_kept(pg: Pg) {
    assert_eq!(pg.ledger.refuse(&[refusal(), refusal()]).await.unwrap().len(), 2);
}
