//! Somebody sets the clock of the daemon's machine, by an hour, while it works. Nobody else's time changes:
//! not Postgres', not the gateway's.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use dispatcher::simulator::{Scripted, message};
use serde_json::Value;

use crate::pacing::{closest, most_within, times};
use crate::support::clock::Clock;
use crate::support::lateness::Lateness;
use crate::support::process::{Process, free_address};
use crate::support::stage::Stage;
use crate::support::{becomes, eventually, job, number};

/// In seconds.
const HOUR: i64 = 3_600;
/// What must not take an hour is done within this, in seconds.
const SOON: f64 = 60.0;
/// The least wait before an account is probed whose clock was not set.
const PROBE: Duration = Duration::from_secs(50);

/// A daemon with a clock of its own.
struct Set {
    stage: Stage,
    clock: Clock,
    daemon: Process,
    /// The daemon is another process, but on the same machine.
    late: Lateness,
}

impl Set {
    /// Its clock is so many seconds ahead.
    async fn off_by(seconds: i64, stage: Stage) -> Set {
        stage.migrate().await;
        let clock = Clock::off_by(seconds);
        let daemon = Process::run(&[stage.environment(), clock.environment()].concat(), free_address());
        daemon.ready().await;
        Set { stage, clock, daemon, late: Lateness::watch() }
    }

    /// With little for each number and for all of them together, and a backoff of 4 to 8 s.
    async fn limited() -> Set {
        let mut stage = Stage::new().await;
        for (key, value) in [
            // A dynamic password would not be taken; see below.
            ("accounts.main.auth", "static"),
            ("limits.mobile", "1/s"),
            ("limits.mobile_burst", "1"),
            ("accounts.main.rate", "5/s"),
            ("accounts.main.burst", "1"),
            ("retry.initial", "8s"),
            ("retry.max", "8s"),
        ] {
            stage.set(key, value);
        }
        Set::off_by(0, stage).await
    }

    /// A job whose first try fails, eight for one number, thirty for others: some wait in memory for their turn,
    /// the rest in Postgres.
    async fn with_a_crowd(&self) {
        self.stage.gateway.script(&number(1), vec![Scripted::Code(0, message(0).to_owned())]);
        self.stage.publish("high", [&job("backoff", &number(1))]).await;
        self.stage.publish("normal", &crowd()).await;
        let retry = async || self.stage.db.count("jobs where wait_reason = 'retry'").await;
        becomes("the backoff", 1, retry).await;
        becomes("slots of the number", true, async || {
            self.stage.db.count("jobs where wait_reason = 'rate_limited' and mobile = '13900000002'").await > 2
        })
        .await;
        assert_eq!(retry().await, 1, "the machine is so slow that the backoff is over before the clock is set");
    }

    /// Each was sent once, the failed one twice; soon, and as fast as the limits allow.
    async fn went_in_time(&self) {
        let crowd = "jobs where state = 'accepted' and (id = 'backoff' or id like 'slot-%' or id like 'other-%')";
        eventually("all are accepted", async || match self.stage.db.count(crowd).await {
            39 => Ok(()),
            _ => Err((self.stage.db.states().await, self.daemon.log())),
        })
        .await;
        let submits = self.stage.gateway.submissions();
        let of = |n: usize| times(&submits, &number(n));
        assert_eq!((of(1).len(), of(2).len()), (2, 8), "each once, and what failed once again");
        let all: Vec<f64> = (1..=32).flat_map(of).collect();
        assert_eq!(all.len(), 40, "each once");
        let took = all.iter().copied().fold(0.0, f64::max) - submits[0].at;
        assert!(took < SOON, "{took} s: something waited for the clock");
        let closest = closest(&of(2));
        let late = self.late.worst();
        assert!(closest >= 0.95 - late, "{closest} s apart at the number, late by {late} s");
        let most = most_within(&submits.iter().map(|submit| submit.at).collect::<Vec<_>>(), 1.0 - late);
        assert!(most <= 6, "{most} within a second at the account's 5, late by {late} s");
    }

    /// The gateway refuses what is signed by this clock; put right, all goes by itself.
    async fn is_refused_until_put_right(&self) {
        self.stage.publish("high", [&job("first", &number(1))]).await;
        let row = self.stage.job("first", |row| row.wait_reason.as_deref() == Some("account_paused")).await;
        assert_eq!((row.attempts, row.code), (1, Some(40501)));
        let outcomes = [("resign".to_owned(), Some(40501)), ("account".to_owned(), Some(40501))];
        assert_eq!(self.stage.db.attempts("first").await, outcomes);
        becomes("paused", 1, async || self.stage.db.count("accounts where state = 'paused'").await).await;
        // The account's fault, and no job's: this one is not even tried.
        self.stage.publish("high", [&job("second", &number(2))]).await;
        self.stage.states("waiting/account_paused 2").await;
        assert_eq!(self.stage.gateway.submissions().len(), 2);
        assert_eq!(self.daemon.log().matches("the account is paused").count(), 1, "{}", self.daemon.log());

        self.clock.set(0);
        let set = Instant::now();
        self.stage.states("accepted 2").await;
        // A paused account is probed a minute after its pause; here at once.
        assert!(set.elapsed() < PROBE, "{:?}", set.elapsed());
        assert_eq!(self.stage.db.count("accounts where state = 'active'").await, 1);
        assert_eq!(self.stage.gateway.submissions().len(), 4, "each once more");
        assert_eq!(self.stage.settled("first", "accepted").await.attempts, 2);
    }

    async fn finish(self) {
        let (status, log) = self.daemon.terminate().await;
        assert_eq!(status.code(), Some(0), "{log}");
        self.stage.finish().await;
    }
}

fn crowd() -> Vec<Value> {
    let slots = (0..8).map(|n| job(&format!("slot-{n}"), &number(2)));
    slots.chain((3..33).map(|n| job(&format!("other-{n}"), &number(n)))).collect()
}

/// A job for `n` with these times, in seconds from now by the true clock.
fn timed(id: &str, n: usize, times: &[(&str, i64)]) -> Value {
    let mut body = job(id, &number(n));
    for (key, seconds) in times {
        body[*key] = (Utc::now() + TimeDelta::seconds(*seconds)).to_rfc3339().into();
    }
    body
}

#[tokio::test]
async fn a_clock_that_is_put_back_delays_no_backoff_and_no_slot() {
    let set = Set::limited().await;
    set.with_a_crowd().await;
    set.clock.set(-HOUR);
    eventually("the step is noticed", async || {
        let log = set.daemon.log();
        if log.contains("the clock was put back") { Ok(()) } else { Err(log) }
    })
    .await;
    // A time that its publisher has set is one of the wall clock.
    set.stage.publish("normal", [&timed("at", 50, &[("not_before", 1)])]).await;
    set.stage.job("at", |row| row.wait_reason.as_deref() == Some("scheduled")).await;
    set.went_in_time().await;
    assert_eq!(set.stage.db.job("at").await.unwrap().state, "waiting", "its time has not come by this clock");
    set.clock.set(0);
    set.stage.settled("at", "accepted").await;
    assert_eq!(set.daemon.log().matches("the clock was put back").count(), 1, "{}", set.daemon.log());
    set.finish().await;
}

#[tokio::test]
async fn a_clock_that_is_put_on_breaks_no_limit() {
    let set = Set::limited().await;
    let ahead = HOUR - 60;
    let at = timed("at", 50, &[("not_before", ahead)]);
    let late = timed("late", 51, &[("not_before", ahead), ("expires_at", ahead)]);
    set.stage.publish("normal", [&at, &late]).await;
    set.stage.states("waiting/scheduled 2").await;
    set.with_a_crowd().await;
    set.clock.set(HOUR);
    set.stage.settled("late", "expired").await;
    set.stage.settled("at", "accepted").await;
    set.went_in_time().await;
    // What is parked now has a time an hour ahead of everybody else's; it must not wait for that.
    let more: Vec<Value> = (0..6).map(|n| job(&format!("more-{n}"), &number(60))).collect();
    set.stage.publish("normal", &more).await;
    becomes("slots ahead", true, async || {
        set.stage.db.count("jobs where due_at > now() + interval '50 min' and mobile = '13900000060'").await > 0
    })
    .await;
    set.clock.set(0);
    set.stage.states("accepted 46, expired 1").await;
    let closest = closest(&times(&set.stage.gateway.submissions(), &number(60)));
    let late = set.late.worst();
    assert!(closest >= 0.95 - late, "{closest} s apart, late by {late} s");
    set.finish().await;
}

/// ihuyi takes a dynamic password for some minutes only.
async fn dynamic() -> Stage {
    let mut stage = Stage::new().await;
    stage.set("accounts.main.auth", "dynamic");
    stage
}

#[tokio::test]
async fn a_clock_an_hour_behind_pauses_the_account_until_it_is_put_right() {
    let set = Set::off_by(-HOUR, dynamic().await).await;
    set.is_refused_until_put_right().await;
    set.finish().await;
}

#[tokio::test]
async fn a_clock_an_hour_ahead_pauses_the_account_until_it_is_put_right() {
    let set = Set::off_by(HOUR, dynamic().await).await;
    set.is_refused_until_put_right().await;
    set.finish().await;
}
