//! The contract's table, a job for each code.

use chrono::{DateTime, FixedOffset, NaiveTime, TimeZone, Utc};
use dispatcher::simulator::{Account, Options, Scripted, message};

use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, job, number};

const PERMANENT: [i64; 13] = [403, 404, 406, 407, 4030, 4070, 4071, 4072, 40722, 4073, 4074, 408, 4085];
const ACCOUNT: [i64; 10] = [400, 401, 402, 405, 4050, 4051, 4052, 4053, 40502, 4075];
/// 4086, 201 and the others stand for any code that is not listed.
const RETRY: [i64; 10] = [0, 4080, 4086, 1, 3, 20, 22, 201, -1, 99_999_999_999];

fn scripted(code: i64) -> Vec<Scripted> {
    vec![Scripted::Code(code, message(code).to_owned())]
}

/// Publishes a job whose first submit is answered with each of `codes`; job and number go by the index.
async fn play(stage: &Stage, codes: &[i64]) {
    let jobs: Vec<_> = (0..codes.len()).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    codes.iter().enumerate().for_each(|(n, code)| stage.gateway.script(&number(n), scripted(*code)));
    stage.publish("normal", &jobs).await;
}

#[tokio::test]
async fn two_is_accepted() {
    let mut stage = Stage::new().await;
    stage.start().await;
    stage.publish("high", [&job("job", &number(1))]).await;
    let row = stage.settled("job", "accepted").await;
    let smsid = &stage.gateway.submissions()[0].smsid;
    assert_eq!((row.code, row.attempts, row.smsid.as_ref(), row.wait_reason), (Some(2), 1, Some(smsid), None));
    assert_eq!(row.message.as_deref(), Some("提交成功"));
    assert_eq!(stage.db.attempts("job").await, [("accepted".to_owned(), Some(2))]);
    let open = "attempts where finished_at is null or finished_at < started_at or smsid is null or account <> 'main'";
    assert_eq!(stage.db.count(open).await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn permanent_codes_fail_at_once() {
    let mut stage = Stage::new().await;
    stage.start().await;
    play(&stage, &PERMANENT).await;
    stage.states(&format!("failed {}", PERMANENT.len())).await;
    for (n, code) in PERMANENT.into_iter().enumerate() {
        let id = format!("job-{n}");
        let row = stage.db.job(&id).await.unwrap();
        assert_eq!((row.code, row.attempts, row.smsid), (Some(code), 1, None), "{code}");
        assert_eq!(row.message.as_deref(), Some(message(code)), "{code}");
        assert_eq!(stage.db.attempts(&id).await, [("permanent".to_owned(), Some(code))]);
    }
    assert_eq!(stage.gateway.submissions().len(), PERMANENT.len());
    stage.finish().await;
}

#[tokio::test]
async fn other_codes_wait_for_another_try() {
    let mut stage = Stage::new().await;
    stage.set("retry.initial", "40s");
    stage.start().await;
    let begun = Utc::now();
    play(&stage, &RETRY).await;
    stage.states(&format!("waiting/retry {}", RETRY.len())).await;
    let ended = Utc::now();
    for (n, code) in RETRY.into_iter().enumerate() {
        let id = format!("job-{n}");
        let row = stage.db.job(&id).await.unwrap();
        assert_eq!((row.code, row.attempts), (Some(code), 1), "{code}");
        assert_eq!(stage.db.attempts(&id).await, [("retry".to_owned(), Some(code))]);
        let due = row.due_at.unwrap();
        let (earliest, latest) = (begun + chrono::Duration::seconds(20), ended + chrono::Duration::seconds(40));
        assert!((earliest..=latest).contains(&due), "{code}: {due}");
    }
    stage.finish().await;
}

/// The next midnight of Shanghai.
fn midnight(after: DateTime<Utc>) -> DateTime<Utc> {
    let shanghai = FixedOffset::east_opt(8 * 3_600).unwrap();
    let tomorrow = after.with_timezone(&shanghai).date_naive().succ_opt().unwrap();
    shanghai.from_local_datetime(&tomorrow.and_time(NaiveTime::MIN)).unwrap().with_timezone(&Utc)
}

#[tokio::test]
async fn daily_limits_wait_for_tomorrow_in_shanghai() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let begun = Utc::now();
    play(&stage, &[4082, 4084]).await;
    stage.states("waiting/number_limit 2").await;
    for (n, code) in [4082, 4084].into_iter().enumerate() {
        let id = format!("job-{n}");
        let row = stage.db.job(&id).await.unwrap();
        assert_eq!((row.code, row.attempts), (Some(code), 1), "{code}");
        assert_eq!(stage.db.attempts(&id).await, [("tomorrow".to_owned(), Some(code))]);
        let due = row.due_at.unwrap();
        let until = midnight(Utc::now()) + chrono::Duration::minutes(15);
        assert!(midnight(begun) < due && due < until, "{due}");
    }
    stage.finish().await;
}

#[tokio::test]
async fn account_codes_pause_the_account_and_spend_nothing() {
    let accounts = ACCOUNT.iter().map(|code| Account::new(format!("C{code}"), "key")).collect();
    let mut stage = Stage::with(Options { accounts, ..lenient() }).await;
    stage.tempo.probe = std::time::Duration::from_secs(600);
    stage.start().await;
    let mut jobs = Vec::new();
    for (n, code) in ACCOUNT.into_iter().enumerate() {
        stage.gateway.script(&number(n), scripted(code));
        let mut body = job(&format!("job-{n}"), &number(n));
        body["account"] = if n == 0 { "main".to_owned() } else { format!("a{n}") }.into();
        jobs.push(body);
    }
    stage.publish("normal", &jobs).await;
    stage.states(&format!("waiting/account_paused {}", ACCOUNT.len())).await;
    becomes("paused accounts", 10, async || stage.db.count("accounts where state = 'paused'").await).await;
    for (n, code) in ACCOUNT.into_iter().enumerate() {
        let id = format!("job-{n}");
        let row = stage.db.job(&id).await.unwrap();
        assert_eq!((row.code, row.attempts, row.due_at), (Some(code), 0, None), "{code}");
        assert_eq!(stage.db.attempts(&id).await, [("account".to_owned(), Some(code))]);
        let sql = "select reason, paused_at is not null from accounts where name = $1";
        let (reason, since): (String, bool) =
            sqlx::query_as(sql).bind(&row.account).fetch_one(&stage.db.pool).await.unwrap();
        assert!(since && reason.contains(&code.to_string()), "{reason}");
        stage.metric("account_paused", &[("account", &row.account)], 1.0).await;
    }
    stage.metric("jobs_waiting", &[("reason", "account_paused")], 10.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn the_configuration_overrides_the_table() {
    let mut stage = Stage::new().await;
    let overrides = [(4030, "retry"), (0, "permanent"), (4082, "permanent"), (777, "tomorrow"), (405, "permanent")];
    for (code, class) in overrides {
        stage.set(&format!("codes.{code}"), class);
    }
    stage.set("retry.initial", "40s");
    stage.start().await;
    play(&stage, &overrides.map(|(code, _)| code)).await;
    stage.states("failed 3, waiting/number_limit 1, waiting/retry 1").await;
    for (n, (code, class)) in overrides.into_iter().enumerate() {
        assert_eq!(stage.db.attempts(&format!("job-{n}")).await, [(class.to_owned(), Some(code))]);
    }
    assert_eq!(stage.db.count("accounts where state = 'paused'").await, 0);
    stage.finish().await;
}
