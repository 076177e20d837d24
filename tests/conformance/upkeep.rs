//! The duties: each statement takes the rows that it says, in order, and no others.

use chrono::Duration;
use dispatcher::dispatch::ports::*;
use dispatcher::domain::decide::Next;
use dispatcher::domain::job::{Job, Outcome, Payload, Priority, State, WaitReason};

use super::*;

pub async fn what_is_due_is_released_in_order(pg: Pg) {
    let now = pg.now();
    let limited = |ms| Entry::Wait {
        reason: WaitReason::RateLimited,
        due_at: Some(now + Duration::milliseconds(ms)),
        on_room: false,
    };
    let soon = now + Duration::milliseconds(400);
    let waits = [
        ("third", limited(400)),
        ("first", wait_until(now - Duration::seconds(2))),
        ("second", wait_until(now - Duration::seconds(1))),
        ("not yet", wait_until(soon)),
        ("far", limited(600)),
        ("room", wait_for_room()),
    ];
    for (id, entry) in waits {
        assert_eq!(pg.admit(job(id), entry).await, Admitted::Stored);
    }
    assert_eq!(ids(&pg.upkeep.release_due(now, 2).await.unwrap()), ["first", "second"]);
    assert_eq!(ids(&pg.upkeep.release_due(now, 10).await.unwrap()), ["third"], "a number's slot is met a little early");
    assert_eq!(ids(&pg.upkeep.release_due(soon, 10).await.unwrap()), ["not yet", "far"]);
    assert_eq!(pg.state("first").await, State::Queued);
}

pub async fn what_is_due_of_a_higher_priority_is_released_first(pg: Pg) {
    let now = pg.now();
    let of = |id: &str, priority| Job { priority, ..job(id) };
    for (id, priority, ago) in [
        ("bulk-1", Priority::Bulk, 9),
        ("bulk-2", Priority::Bulk, 8),
        ("bulk-3", Priority::Bulk, 7),
        ("normal", Priority::Normal, 3),
        ("high-2", Priority::High, 1),
        ("high-1", Priority::High, 2),
    ] {
        pg.admit(of(id, priority), wait_until(now - Duration::seconds(ago))).await;
    }
    let first = ids(&pg.upkeep.release_due(now, 2).await.unwrap());
    assert_eq!(first, ["high-1", "high-2", "normal", "bulk-1", "bulk-2"], "so many of each");
    assert_eq!(ids(&pg.upkeep.release_due(now, 2).await.unwrap()), ["bulk-3"]);
}

pub async fn what_slept_is_woken_by_priority(pg: Pg) {
    let morning = pg.now() - Duration::seconds(10);
    let sleeps = |at| Entry::Wait { reason: WaitReason::QuietHours, due_at: Some(at), on_room: false };
    for n in 0..3 {
        let bulk = Job { priority: Priority::Bulk, ..job(&format!("bulk-{n}")) };
        pg.admit(bulk, sleeps(morning)).await;
    }
    let high = Job { priority: Priority::High, ..job("high") };
    pg.admit(high, sleeps(morning + Duration::seconds(1))).await;
    let mut woken = pg.upkeep.wake(pg.now(), 2).await.unwrap();
    woken.sort();
    let line = |priority| ("main".to_owned(), priority);
    assert_eq!(woken, [line(Priority::High), line(Priority::Bulk), line(Priority::Bulk)]);
    assert_eq!(pg.upkeep.wake(pg.now(), 2).await.unwrap(), [line(Priority::Bulk)]);
}

pub async fn a_clock_that_was_put_back_delays_no_backoff_and_no_slot(pg: Pg) {
    let now = pg.now();
    let wait = |reason, on_room| Entry::Wait { reason, due_at: Some(now + Duration::hours(1)), on_room };
    let waits = [
        ("retry", wait(WaitReason::Retry, false)),
        ("slot", wait(WaitReason::RateLimited, false)),
        ("scheduled", wait(WaitReason::Scheduled, false)),
        ("room", wait(WaitReason::RateLimited, true)),
    ];
    for (id, entry) in waits {
        assert_eq!(pg.admit(job(id), entry).await, Admitted::Stored);
    }
    let (mut moved, mut after) = (0, None);
    loop {
        let (jobs, next) = pg.upkeep.put_forward(Duration::hours(1), after, 1).await.unwrap();
        moved += jobs;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(moved, 2, "once, though they stand before where the next page begins");
    let mut due = ids(&pg.upkeep.release_due(now, 10).await.unwrap());
    due.sort();
    assert_eq!(due, ["retry", "slot"]);
}

pub async fn what_waits_for_room_is_released_by_account_and_priority(pg: Pg) {
    let bulk = |id: &str| Job { priority: Priority::Bulk, ..job(id) };
    let other = |id: &str| Job { account: "other".into(), ..job(id) };
    for job in [job("a"), bulk("bulk"), job("b"), other("other"), job("c")] {
        assert_eq!(pg.admit(job, wait_for_room()).await, Admitted::Stored);
    }
    let room = |limit| pg.upkeep.release_room("main", Priority::Normal, limit);
    assert_eq!(ids(&room(2).await.unwrap()), ["a", "b"]);
    assert_eq!(ids(&room(2).await.unwrap()), ["c"]);
    assert_eq!(ids(&room(2).await.unwrap()), Vec::<String>::new());
    assert_eq!(ids(&pg.upkeep.release_room("other", Priority::Normal, 9).await.unwrap()), ["other"]);
}

pub async fn a_released_job_comes_back_whole(pg: Pg) {
    let whole = Job {
        payload: Payload::Template { id: "7".into(), variables: vec!["一".into(), "".into()] },
        priority: Priority::High,
        expires_at: Some("2100-01-01T00:00:00.5Z".parse().unwrap()),
        not_before: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        published_at: Some("2026-01-01T00:00:00.123Z".parse().unwrap()),
        on_unknown: OnUnknown::Resend,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        metadata: None,
        ..job("whole")
    };
    let row = pg.admission(whole.clone(), wait_for_room());
    assert_eq!(pg.ledger.admit(std::slice::from_ref(&row)).await.unwrap(), [Admitted::Stored]);
    let released = pg.upkeep.release_room("main", Priority::High, 9).await.unwrap();
    assert_eq!((&released[0].job, released[0].seq), (&whole, row.seq));
}

pub async fn a_job_that_does_not_come_back_is_lost(pg: Pg) {
    pg.queued("a").await;
    assert!(pg.upkeep.release_lost(60, 10).await.unwrap().is_empty());
    assert_eq!(pg.lost(0).await, ["a"]);
    pg.readmit("a", From::Queued, Entry::Claim).await;
    assert!(pg.upkeep.release_lost(0, 10).await.unwrap().is_empty());
}

pub async fn a_claim_protects_its_attempt(pg: Pg) {
    pg.claimed("a").await;
    assert!(pg.upkeep.stale_claims(10).await.unwrap().is_empty());
}

pub async fn a_claim_runs_out(pg: Pg) {
    let resend = Job { on_unknown: OnUnknown::Resend, ..job("a") };
    assert_eq!(pg.admit(resend, Entry::Claim).await, FIRST);
    let claim = Claim { attempts: 1, request: 1 };
    let stale = StaleClaim { id: "a".into(), account: "main".into(), claim, on_unknown: OnUnknown::Resend };
    assert_eq!(pg.stale().await, [stale]);
    assert!(pg.record("a", 1, Outcome::Unknown, Next::InDoubt).await);
    assert!(pg.upkeep.stale_claims(10).await.unwrap().is_empty());
}

pub async fn what_waits_beyond_its_time_expires(pg: Pg) {
    let now = pg.now();
    let expires = |id: &str, seconds| Job { expires_at: Some(now + Duration::seconds(seconds)), ..job(id) };
    let past = wait_until(now - Duration::seconds(60));
    for (job, entry) in [
        (expires("queued", 5), past),
        (expires("room", 5), wait_for_room()),
        (expires("later", 50), wait_for_room()),
        (expires("claimed", 5), Entry::Claim),
        (job("never"), wait_for_room()),
    ] {
        pg.admit(job, entry).await;
    }
    pg.upkeep.release_due(now, 10).await.unwrap();
    let late = now + Duration::seconds(5);
    assert_eq!(pg.upkeep.expire(late, 10).await.unwrap(), [("main".to_owned(), 2)]);
    assert!(pg.upkeep.expire(late, 10).await.unwrap().is_empty());
    assert_eq!(pg.state("queued").await, State::Expired);
    assert_eq!(pg.state("claimed").await, State::Submitting);
}

/// Before that by the daemon's clock, so many seconds ago by Postgres'.
pub fn old(before: Timestamp, seconds: u64) -> Old {
    Old { before, age: std::time::Duration::from_secs(seconds) }
}

pub async fn settled_jobs_are_pruned(pg: Pg) {
    pg.admit(job("expired"), Entry::Expired).await;
    pg.admit(job("waits"), wait_for_room()).await;
    pg.claimed("claimed").await;
    pg.claimed("doubted").await;
    assert!(pg.record("doubted", 1, Outcome::Unknown, Next::InDoubt).await);
    assert_eq!(pg.upkeep.prune(old(pg.now() - Duration::seconds(60), 0), 10).await.unwrap(), 0);
    let later = pg.now() + Duration::seconds(60);
    assert_eq!(pg.upkeep.prune(old(later, 60), 10).await.unwrap(), 0, "Postgres does not think so");
    assert_eq!(pg.upkeep.prune(old(later, 0), 10).await.unwrap(), 1);
    assert_eq!(pg.admit(job("expired"), Entry::Claim).await, FIRST, "its id is free again");
    assert_eq!(pg.state("doubted").await, State::InDoubt);
}

pub async fn old_rejections_are_pruned(pg: Pg) {
    let refusal = crate::suite::ledger::refusal;
    pg.ledger.refuse(&[refusal(), refusal(), refusal()]).await.unwrap();
    let (past, future) = (pg.now() - Duration::seconds(60), pg.now() + Duration::seconds(60));
    assert_eq!(pg.upkeep.prune_records(old(past, 0), 10).await.unwrap(), 0);
    assert_eq!(pg.upkeep.prune_records(old(future, 60), 10).await.unwrap(), 0);
    for pruned in [2, 1, 0] {
        assert_eq!(pg.upkeep.prune_records(old(future, 0), 2).await.unwrap(), pruned);
    }
}

pub async fn an_account_pauses_and_resumes_once(pg: Pg) {
    let names = ["main".to_owned()];
    let row = |paused| AccountRow { name: "main".into(), paused };
    let pause = |reason: &str| Pause { by_operator: false, reason: reason.into(), refusals: true };
    assert!(!pg.upkeep.pause("main", &pause("nobody knows it")).await.unwrap());
    assert_eq!(pg.upkeep.accounts(&names).await.unwrap(), [row(None)]);
    assert!(pg.upkeep.pause("main", &pause("no balance")).await.unwrap());
    assert!(!pg.upkeep.pause("main", &pause("again")).await.unwrap());
    assert_eq!(pg.upkeep.accounts(&names).await.unwrap(), [row(Some(pause("no balance")))]);
    assert!(pg.upkeep.resume("main").await.unwrap());
    assert!(!pg.upkeep.resume("main").await.unwrap());
}

pub async fn what_waits_for_room_says_why(pg: Pg) {
    pg.upkeep.accounts(&["main".to_owned()]).await.unwrap();
    for priority in [Priority::Normal, Priority::Bulk, Priority::High] {
        pg.admit(Job { priority, ..job(priority.as_str()) }, wait_for_room()).await;
    }
    pg.admit(Job { account: "other".into(), ..job("other") }, wait_for_room()).await;
    pg.admit(job("due"), wait_until(pg.now() + Duration::seconds(60))).await;
    let paused = async || {
        let mut paused = 0;
        let mut count = |line: ParkedJobs| {
            let told = line.account == "main" && line.reason == WaitReason::AccountPaused;
            paused += if told { line.jobs } else { 0 };
        };
        pg.upkeep.parked(&mut count).await.unwrap();
        paused
    };
    let place = |priority, seq| Some(RoomPlace { priority, seq });
    let say = async |after, limit| pg.upkeep.say_why("main", after, limit).await.unwrap();
    assert_eq!(say(None, 9).await, None);
    assert_eq!(paused().await, 0);
    let pause = Pause { by_operator: false, reason: "no balance".into(), refusals: false };
    assert!(pg.upkeep.pause("main", &pause).await.unwrap());
    // Who wakes during the pause knows it at once.
    let reason = WaitReason::QuietHours;
    let sleeps = Entry::Wait { reason, due_at: Some(pg.now() - Duration::seconds(1)), on_room: false };
    pg.admit(Job { account: "main".into(), ..job("late") }, sleeps).await;
    assert_eq!(pg.upkeep.wake(pg.now(), 9).await.unwrap().len(), 1);
    assert_eq!(paused().await, 1);
    assert_eq!(say(None, 1).await, place(Priority::Bulk, 2));
    assert_eq!(paused().await, 2);
    assert_eq!(say(place(Priority::Bulk, 2), 1).await, place(Priority::High, 3));
    assert_eq!(say(place(Priority::High, 3), 9).await, None);
    assert_eq!(paused().await, 4);
    assert!(pg.upkeep.resume("main").await.unwrap());
    assert_eq!(say(None, 9).await, None);
    assert_eq!(paused().await, 0);
    assert_eq!(ids(&pg.upkeep.release_room("main", Priority::Bulk, 9).await.unwrap()), ["bulk"]);
}

pub async fn parked_jobs_change_their_account(pg: Pg) {
    for id in ["a", "b"] {
        pg.admit(job(id), wait_for_room()).await;
    }
    pg.admit(job("due"), wait_until(pg.now() + Duration::seconds(60))).await;
    assert_eq!(pg.upkeep.reroute("main", "backup", 1).await.unwrap(), [Priority::Normal]);
    assert_eq!(ids(&pg.upkeep.release_room("backup", Priority::Normal, 9).await.unwrap()), ["a"]);
    assert_eq!(pg.upkeep.reroute("main", "backup", 9).await.unwrap(), [Priority::Normal]);
    assert!(pg.upkeep.reroute("main", "backup", 9).await.unwrap().is_empty());
    assert_eq!(pg.state("a").await, State::Queued, "its digest is still the publisher's");
}

pub async fn the_highest_priority_changes_its_account_first(pg: Pg) {
    for priority in [Priority::Bulk, Priority::Normal, Priority::High] {
        pg.admit(Job { priority, ..job(priority.as_str()) }, wait_for_room()).await;
    }
    assert_eq!(pg.upkeep.reroute("main", "backup", 2).await.unwrap(), [Priority::High, Priority::Normal]);
    assert_eq!(pg.upkeep.reroute("main", "backup", 2).await.unwrap(), [Priority::Bulk]);
}

pub async fn a_job_that_its_account_may_have_taken_stays_there(pg: Pg) {
    pg.admit(Job { on_unknown: OnUnknown::Resend, ..job("a") }, Entry::Claim).await;
    let next = Next::Wait { reason: WaitReason::Retry, due_at: Some(pg.now() - Duration::seconds(60)) };
    assert!(pg.record("a", 1, Outcome::Unknown, next).await);
    let released = pg.upkeep.release_due(pg.now(), 9).await.unwrap();
    assert!(released.len() == 1 && released[0].bound, "{released:?}");
    pg.readmit("a", From::Queued, wait_for_room()).await;
    assert!(pg.upkeep.reroute("main", "backup", 9).await.unwrap().is_empty());
    let released = pg.upkeep.release_room("main", Priority::Normal, 9).await.unwrap();
    assert!(released.len() == 1 && released[0].bound, "{released:?}");
}

pub async fn what_is_parked_is_told_by_number(pg: Pg) {
    let now = pg.now();
    let due = |seconds| now + Duration::seconds(seconds);
    let limited = |at| Entry::Wait { reason: WaitReason::RateLimited, due_at: Some(at), on_room: false };
    pg.admit(job("a"), limited(due(1))).await;
    pg.admit(job("b"), limited(due(9))).await;
    pg.admit(job("c"), wait_for_room()).await;
    pg.admit(job("scheduled"), wait_until(due(5))).await;
    let mut lines = Vec::new();
    pg.upkeep.parked(&mut |line| lines.push(line)).await.unwrap();
    lines.sort_by_key(|line| line.on_room);
    let told: Vec<_> = lines.iter().map(|line| (line.on_room, line.jobs, line.priority)).collect();
    assert_eq!(told, [(false, 2, Priority::Normal), (true, 1, Priority::Normal)]);
    let off = lines[0].due_at.unwrap() - due(9);
    assert!(off.abs() < Duration::milliseconds(1), "the last slot counts: {off}");
}

pub async fn the_last_slot_of_a_number_is_the_last_that_is_taken(pg: Pg) {
    let now = pg.now();
    let due = |seconds| now + Duration::seconds(seconds);
    let waits = |reason, seconds| Entry::Wait { reason, due_at: Some(due(seconds)), on_room: false };
    let mobile = job("a").mobile;
    for (id, priority, entry) in [
        ("a", Priority::Normal, waits(WaitReason::RateLimited, 1)),
        ("b", Priority::Normal, waits(WaitReason::RateLimited, 5)),
        ("bulk", Priority::Bulk, waits(WaitReason::RateLimited, 7)),
        ("scheduled", Priority::Normal, waits(WaitReason::Scheduled, 9)),
        ("room", Priority::Normal, wait_for_room()),
    ] {
        pg.admit(Job { mobile, priority, ..job(id) }, entry).await;
    }
    let lines = [Priority::Bulk, Priority::High, Priority::Normal].map(|priority| (mobile, priority));
    let slots = pg.upkeep.last_slots(&lines).await.unwrap();
    let off = |at: Option<Timestamp>| at.map(|at| ((at - now).num_milliseconds() + 500) / 1_000);
    assert_eq!(slots.into_iter().map(off).collect::<Vec<_>>(), [Some(7), None, Some(5)]);
}

pub async fn what_waits_is_counted(pg: Pg) {
    pg.admit(job("a"), wait_for_room()).await;
    pg.admit(job("b"), wait_for_room()).await;
    pg.claimed("c").await;
    assert!(pg.record("c", 1, Outcome::Unknown, Next::InDoubt).await);
    let waiting = pg.upkeep.waiting(&["main".into(), "second".into()]).await.unwrap();
    assert_eq!((waiting.by_reason, waiting.in_doubt), (vec![(WaitReason::AccountPaused, 2)], 1));
    assert_eq!(waiting.stranded, 0);
    let waiting = pg.upkeep.waiting(&["second".into()]).await.unwrap();
    assert_eq!(waiting.stranded, 2, "their account was removed");
}
