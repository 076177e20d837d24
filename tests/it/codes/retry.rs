//! Tries again: later, at once, and not for ever.

use dispatcher::simulator::{Scripted, message};

use crate::support::lateness::Lateness;
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

fn codes(codes: &[i64]) -> Vec<Scripted> {
    codes.iter().map(|code| Scripted::Code(*code, message(*code).to_owned())).collect()
}

fn outcomes(words: &[(&str, i64)]) -> Vec<(String, Option<i64>)> {
    words.iter().map(|(outcome, code)| ((*outcome).to_owned(), Some(*code))).collect()
}

#[tokio::test]
async fn a_retry_ends_with_success_or_with_the_last_attempt() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "20ms");
    stage.set("retry.max_attempts", "4");
    stage.gateway.script(&number(1), codes(&[0, 9_999, 0]));
    stage.gateway.script(&number(2), codes(&[0; 10]));
    stage.gateway.script(&number(3), codes(&[0, 4030]));
    stage.start().await;
    stage.publish("normal", [1, 2, 3].map(|n| job(&format!("job-{n}"), &number(n))).iter()).await;
    stage.states("accepted 1, failed 2").await;
    let end = async |id: &str| {
        let row = stage.db.job(id).await.unwrap();
        (row.attempts, row.code)
    };
    assert_eq!(end("job-1").await, (4, Some(2)));
    assert_eq!(end("job-2").await, (4, Some(0)));
    assert_eq!(end("job-3").await, (2, Some(4030)));
    let wanted = outcomes(&[("retry", 0), ("retry", 9_999), ("retry", 0), ("accepted", 2)]);
    assert_eq!(stage.db.attempts("job-1").await, wanted);
    assert_eq!(stage.gateway.submissions().len(), 10);
    stage.metric("submissions_total", &[("outcome", "retry")], 8.0).await;
    stage.metric("submissions_total", &[("code", "other")], 1.0).await;
    stage.metric("jobs_finished_total", &[("state", "failed"), ("code", "0")], 1.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn the_backoff_doubles_and_4080_waits_for_another_second() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "400ms");
    stage.gateway.script(&number(1), codes(&[0, 0, 0]));
    stage.gateway.script(&number(2), codes(&[4080]));
    stage.start().await;
    stage.publish("high", [1, 2].map(|n| job(&format!("job-{n}"), &number(n))).iter()).await;
    stage.states("accepted 2").await;
    let submissions = stage.gateway.submissions();
    let at = |n: usize| -> Vec<f64> {
        submissions.iter().filter(|submit| submit.mobile == number(n)).map(|submit| submit.at).collect()
    };
    for (pair, least) in at(1).windows(2).zip([0.2, 0.4, 0.8]) {
        let waited = pair[1] - pair[0];
        // At most the full delay, the second within which a due job is released, and a busy machine.
        assert!(waited >= least && waited < 2.0 * least + 2.0, "{waited} after {least}");
    }
    assert!(at(2)[1] - at(2)[0] >= 1.0);
    stage.finish().await;
}

#[tokio::test]
async fn an_expired_password_is_signed_again_at_once() {
    let mut stage = Stage::new().await;
    // The second try goes past the number's bucket.
    stage.set("limits.mobile", "6/m");
    stage.set("limits.mobile_burst", "1");
    stage.gateway.script(&number(1), codes(&[40501]));
    let late = Lateness::watch();
    stage.start().await;
    // The number counts as just used: with its bucket full the test need not wait for ten seconds.
    stage.stop().await;
    stage.set("limits.mobile_burst", "2");
    stage.set("limits.mobile", "1/s");
    stage.start().await;
    stage.publish("high", [&job("job", &number(1))]).await;
    let row = stage.settled("job", "accepted").await;
    assert_eq!((row.attempts, row.code), (2, Some(2)));
    assert_eq!(stage.db.attempts("job").await, outcomes(&[("resign", 40501), ("accepted", 2)]));
    let submissions = stage.gateway.submissions();
    assert_eq!(submissions.len(), 2);
    let waited = submissions[1].at - submissions[0].at;
    assert!(waited < 0.95 + late.worst(), "{waited} s are no longer at once, late by {} s", late.worst());
    assert_eq!(stage.db.count("accounts where state = 'paused'").await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn a_second_expired_password_in_a_row_is_the_accounts_fault() {
    let mut stage = Stage::new().await;
    stage.tempo.probe = std::time::Duration::from_secs(600);
    stage.gateway.script(&number(1), codes(&[40501, 40501]));
    stage.start().await;
    stage.publish("high", [&job("job", &number(1))]).await;
    let row = stage.job("job", |row| row.wait_reason.as_deref() == Some("account_paused")).await;
    assert_eq!((row.attempts, row.code), (1, Some(40501)));
    assert_eq!(stage.db.attempts("job").await, outcomes(&[("resign", 40501), ("account", 40501)]));
    becomes("paused accounts", 1, async || stage.db.count("accounts where state = 'paused'").await).await;
    assert_eq!(stage.gateway.submissions().len(), 2);
    // A release that was under way when the account was paused may have let it out once more: its message
    // may be in the queue when the daemon stops. It is not sent.
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn expired_passwords_count_as_attempts() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "10ms");
    stage.set("retry.max_attempts", "3");
    stage.gateway.script(&number(1), codes(&[40501, 0, 40501, 0, 0]));
    stage.start().await;
    stage.publish("high", [&job("job", &number(1))]).await;
    let row = stage.settled("job", "failed").await;
    assert_eq!((row.attempts, row.code), (3, Some(40501)));
    assert_eq!(stage.gateway.submissions().len(), 3);
    stage.finish().await;
}
