//! What stands against an attempt: what its number has had over a long window, and what it wants.

use chrono::Duration;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::job::{Job, Outcome, Priority, State, WaitReason};

use super::*;

/// `until` is about when the window of an attempt ends that began just now.
fn in_an_hour(pg: &Pg, until: Timestamp) -> bool {
    let off = until - pg.now() - Duration::hours(1);
    off <= Duration::seconds(1) && off > -Duration::seconds(30)
}

fn held(admitted: Admitted) -> Timestamp {
    match admitted {
        Admitted::Held(until) => until,
        other => panic!("not held: {other:?}"),
    }
}

/// A message that was taken.
async fn sent(pg: &Pg, id: &str) {
    pg.claimed(id).await;
    assert!(pg.record(id, 1, Outcome::Accepted, Next::Accepted).await);
}

/// `until` is some seconds away: it is not certain yet.
fn soon(pg: &Pg, until: Timestamp) -> bool {
    let off = until - pg.now();
    off <= Duration::seconds(6) && off > -Duration::seconds(30)
}

async fn claim(pg: &Pg, id: &str) -> Admitted {
    pg.admit(job(id), Entry::Claim).await
}

/// Two an hour.
pub async fn a_number_has_so_much_in_an_hour(pg: Pg) {
    sent(&pg, "a").await;
    sent(&pg, "b").await;
    let until = held(claim(&pg, "c").await);
    assert!(in_an_hour(&pg, until), "{until}");
    assert_eq!(pg.state("c").await, State::Waiting);
    let other = Job { mobile: Mobile::parse("13900139000").unwrap(), ..job("other") };
    assert_eq!(pg.admit(other, Entry::Claim).await, FIRST);
    pg.look.backdate("a", 1, Duration::minutes(61)).await;
    sent(&pg, "d").await;
    pg.look.backdate("b", 1, Duration::minutes(50)).await;
    let until = held(claim(&pg, "e").await) - pg.now();
    assert!((8..=10).contains(&until.num_minutes()), "{until}: there is room when `b` leaves the window");
}

/// Two an hour.
pub async fn only_what_may_have_reached_the_person_counts(pg: Pg) {
    let past = pg.now() - Duration::seconds(60);
    for (id, outcome, next) in [
        ("failed", Outcome::Permanent, Next::Failed),
        ("retried", Outcome::Retry, retry_at(past)),
        ("not-sent", Outcome::NotSent, retry_at(past)),
        ("taken", Outcome::Accepted, Next::Accepted),
        ("doubted", Outcome::Unknown, Next::InDoubt),
    ] {
        pg.claimed(id).await;
        assert!(pg.record(id, 1, outcome, next).await);
    }
    let until = held(claim(&pg, "third").await);
    assert!(in_an_hour(&pg, until), "{until}");
}

/// Two an hour.
pub async fn what_is_on_the_wire_holds_for_seconds(pg: Pg) {
    sent(&pg, "a").await;
    pg.claimed("b").await;
    let until = held(claim(&pg, "c").await);
    assert!(soon(&pg, until), "{until}");
    assert!(pg.record("b", 1, Outcome::Permanent, Next::Failed).await);
    assert_eq!(claim(&pg, "d").await, FIRST);
}

/// Two an hour.
pub async fn of_a_batch_as_many_pass_as_there_is_room_for(pg: Pg) {
    pg.claimed("a").await;
    let rows = ["b", "c", "d"].map(|id| pg.admission(job(id), Entry::Claim));
    let answers = pg.ledger.admit(&rows).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| **answer == FIRST).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Admitted::Claimed(_) | Admitted::Held(_))), "{answers:?}");
    // The answer was lost: the same rows again.
    let again = pg.ledger.admit(&rows).await.unwrap();
    assert_eq!(again, answers);
}

/// Two an hour.
pub async fn what_is_held_goes_when_there_is_room(pg: Pg) {
    pg.queued("late").await;
    sent(&pg, "a").await;
    sent(&pg, "b").await;
    let rows = [pg.readmission("late", From::Queued, Entry::Claim)];
    let Readmitted::Held(until) = pg.ledger.readmit(&rows).await.unwrap()[0] else { panic!("it is not held") };
    assert!(in_an_hour(&pg, until), "{until}");
    assert_eq!(pg.ledger.readmit(&rows).await.unwrap(), [Readmitted::Held(until)], "its answer was lost");
    assert_eq!(pg.state("late").await, State::Waiting);
    assert!(pg.upkeep.wake(until, 10).await.unwrap().is_empty(), "the window goes by the clock that counts it");
    pg.look.hasten("late", Duration::minutes(61)).await;
    assert!(pg.upkeep.release_due(until, 10).await.unwrap().is_empty(), "it goes at its account's pace");
    assert_eq!(pg.upkeep.wake(pg.now(), 10).await.unwrap(), [("main".to_owned(), Priority::Normal)]);
    assert_eq!(ids(&pg.upkeep.release_room("main", Priority::Normal, 10).await.unwrap()), ["late"]);
    pg.look.backdate("a", 1, Duration::minutes(61)).await;
    let claimed = Readmitted::Claimed(Claim { attempts: 1, request: 1 });
    assert_eq!(pg.readmit("late", From::Queued, Entry::Claim).await, claimed);
}

/// One an hour.
pub async fn a_second_signature_keeps_the_place_of_the_first(pg: Pg) {
    pg.claimed("a").await;
    let again = Next::Again { due_at: pg.now() + Duration::seconds(5) };
    assert!(pg.record("a", 1, Outcome::Resign, again).await);
    assert!(soon(&pg, held(claim(&pg, "b").await)));
    let second = Readmitted::Claimed(Claim { attempts: 2, request: 2 });
    assert_eq!(pg.readmit("a", From::Again(1), Entry::Claim).await, second);
    assert!(pg.record("a", 2, Outcome::Permanent, Next::Failed).await);
    assert_eq!(claim(&pg, "c").await, FIRST, "neither of the two reached the person");
}

/// Two a day.
pub async fn a_day_ends_at_midnight_in_shanghai(pg: Pg) {
    sent(&pg, "a").await;
    sent(&pg, "b").await;
    let until = held(claim(&pg, "c").await);
    assert_eq!((until.timestamp() + 8 * 3_600).rem_euclid(86_400), 0, "{until}");
    assert!(until > pg.now() && until <= pg.now() + Duration::days(1), "{until}");
    pg.look.backdate("a", 1, Duration::days(1)).await;
    // What was sent yesterday does not count.
    sent(&pg, "d").await;
    held(claim(&pg, "e").await);
}

/// One an hour.
pub async fn who_was_held_for_its_own_unknown_attempt_goes_when_that_is_known(pg: Pg) {
    let (past, due) = (pg.now() - Duration::seconds(60), pg.now() - Duration::seconds(1));
    pg.claimed("a").await;
    assert!(pg.record("a", 1, Outcome::Unknown, retry_at(past)).await);
    assert_eq!(ids(&pg.upkeep.release_due(pg.now(), 10).await.unwrap()), ["a"]);
    let again = pg.readmit("a", From::Queued, Entry::Claim).await;
    assert!(matches!(again, Readmitted::Held(until) if in_an_hour(&pg, until)), "{again:?}");
    // Its owner was alive, only slow: ihuyi had refused it for the moment.
    assert!(pg.record("a", 1, Outcome::Retry, retry_at(due)).await);
    assert_eq!(pg.outcome("a", 1).await, Some(Outcome::Retry));
    assert_eq!(ids(&pg.upkeep.release_due(pg.now(), 10).await.unwrap()), ["a"]);
    let claimed = Readmitted::Claimed(Claim { attempts: 2, request: 2 });
    assert_eq!(pg.readmit("a", From::Queued, Entry::Claim).await, claimed);
}

/// Two an hour.
pub async fn parked_lines_say_what_they_wait_for(pg: Pg) {
    sent(&pg, "a").await;
    sent(&pg, "b").await;
    held(claim(&pg, "c").await);
    held(claim(&pg, "d").await);
    let quiet =
        Entry::Wait { reason: WaitReason::QuietHours, due_at: Some(pg.now() + Duration::hours(9)), on_room: false };
    assert_eq!(pg.admit(job("e"), quiet).await, Admitted::Stored);
    let mut lines = Vec::new();
    pg.upkeep.parked(&mut |line| lines.push(line)).await.unwrap();
    lines.sort_by_key(|line| line.due_at);
    let told: Vec<_> = lines.iter().map(|line| (line.reason, line.jobs, line.on_room)).collect();
    assert_eq!(told, [(WaitReason::NumberLimit, 2, false), (WaitReason::QuietHours, 1, false)]);
}

pub async fn bulk_jobs_spare_who_wants_none(pg: Pg) {
    let bulk = |id: &str| Job { priority: Priority::Bulk, ..job(id) };
    pg.look.suppress(job("").mobile).await;
    assert_eq!(claim(&pg, "normal").await, FIRST);
    let rows = [pg.admission(bulk("a"), Entry::Claim)];
    for _ in 0..2 {
        assert_eq!(pg.ledger.admit(&rows).await.unwrap(), [Admitted::Suppressed]);
    }
    assert_eq!(pg.admit(bulk("a"), Entry::Claim).await, Admitted::Repeat(State::Failed));
    let past = pg.now() - Duration::seconds(60);
    assert_eq!(pg.admit(bulk("parked"), wait_until(past)).await, Admitted::Stored);
    assert_eq!(ids(&pg.upkeep.release_due(pg.now(), 10).await.unwrap()), ["parked"]);
    let rows = [Readmission {
        to: Some((job("").mobile, Priority::Bulk)),
        ..pg.readmission("parked", From::Queued, Entry::Claim)
    }];
    for _ in 0..2 {
        assert_eq!(pg.ledger.readmit(&rows).await.unwrap(), [Readmitted::Suppressed]);
    }
    assert_eq!(pg.admit(bulk("parked"), Entry::Claim).await, Admitted::Repeat(State::Failed));
}

/// Two an hour. The answer to a claim that was held is lost, and its job moves on before it is asked again.
pub async fn a_held_claim_is_none_when_its_job_has_moved_on(pg: Pg) {
    sent(&pg, "a").await;
    pg.claimed("b").await;
    let first = [pg.admission(job("c"), Entry::Claim)];
    held(pg.ledger.admit(&first).await.unwrap()[0]);
    pg.queued("d").await;
    let again = [pg.readmission("d", From::Queued, Entry::Claim)];
    assert!(matches!(pg.ledger.readmit(&again).await.unwrap()[..], [Readmitted::Held(_)]));
    pg.look.hasten("c", Duration::minutes(61)).await;
    pg.look.hasten("d", Duration::minutes(61)).await;
    assert_eq!(pg.upkeep.wake(pg.now(), 10).await.unwrap().len(), 2);
    assert_eq!(pg.ledger.admit(&first).await.unwrap(), [Admitted::Repeat(State::Waiting)]);
    assert_eq!(pg.ledger.readmit(&again).await.unwrap(), [Readmitted::Elsewhere(State::Waiting)]);
}

pub async fn a_morning_wakes_in_order_and_in_parts(pg: Pg) {
    let morning = pg.now() + Duration::hours(9);
    let quiet = Entry::Wait { reason: WaitReason::QuietHours, due_at: Some(morning), on_room: false };
    for id in ["a", "b", "c"] {
        assert_eq!(pg.admit(job(id), quiet).await, Admitted::Stored);
    }
    assert!(pg.upkeep.wake(morning - Duration::seconds(1), 10).await.unwrap().is_empty());
    assert_eq!(pg.upkeep.wake(morning, 2).await.unwrap().len(), 2);
    assert_eq!(ids(&pg.upkeep.release_room("main", Priority::Normal, 10).await.unwrap()), ["a", "b"]);
    assert_eq!(pg.upkeep.wake(morning, 2).await.unwrap().len(), 1);
    assert_eq!(ids(&pg.upkeep.release_room("main", Priority::Normal, 10).await.unwrap()), ["c"]);
}
