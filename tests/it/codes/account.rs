//! An account that cannot send pauses, and resumes by itself.

use std::time::Duration;

use dispatcher::simulator::{Account, Options};
use serde_json::Value;

use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, dispatcher, eventually, job, number, proxy};

async fn two_accounts() -> Stage {
    let accounts = vec![Account::new("C0", "key-0"), Account::new("C1", "key-1")];
    let mut stage = Stage::with(Options { accounts, ..lenient() }).await;
    // Slow enough that the order at the gateway is about that in which they were let go.
    stage.set("accounts.main.rate", "50/s");
    stage.set("accounts.main.burst", "1");
    stage
}

fn jobs(account: &str, from: usize, count: usize) -> Vec<Value> {
    let one = |n: usize| {
        let mut body = job(&format!("{account}-{n:03}"), &number(n));
        body["account"] = account.into();
        body
    };
    (from..from + count).map(one).collect()
}

async fn state(stage: &Stage) -> String {
    let sql = "select state from accounts where name = 'main'";
    sqlx::query_scalar(sql).fetch_one(&stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn jobs_park_while_others_run_and_a_probe_resumes_the_oldest_first() {
    let mut stage = two_accounts().await;
    stage.tempo.probe = Duration::from_millis(700);
    stage.start().await;
    stage.gateway.set_account("C0", |account| account.balance = 0);
    stage.publish("normal", &jobs("main", 0, 40)).await;
    stage.publish("normal", &jobs("a1", 100, 40)).await;
    stage.states("accepted 40, waiting/account_paused 40").await;
    becomes("the account", "paused".to_owned(), async || state(&stage).await).await;
    assert_eq!(stage.db.count("jobs where account = 'main' and (attempts > 0 or state = 'failed')").await, 0);
    let refused = stage.gateway.stats().codes[&4051];
    assert!(refused < 40, "the others park without a request: {refused}");
    // Newcomers park behind them.
    stage.publish("normal", &jobs("main", 40, 20)).await;
    stage.states("accepted 40, waiting/account_paused 60").await;

    // A balance of nothing keeps the pause.
    let asked = stage.gateway.stats().balance_queries;
    becomes("two probes", true, async || stage.gateway.stats().balance_queries >= asked + 2).await;
    assert_eq!((state(&stage).await.as_str(), stage.gateway.stats().codes[&4051]), ("paused", refused));

    stage.gateway.set_account("C0", |account| account.balance = 1_000);
    stage.states("accepted 100").await;
    becomes("the account", "active".to_owned(), async || state(&stage).await).await;
    // What is claimed in one commit departs in any order: nobody is far from its place.
    let taken =
        stage.gateway.submissions().into_iter().filter(|submit| submit.code == Some(2) && submit.account == "C0");
    let order: Vec<usize> = taken.map(|submit| submit.mobile[3..].parse().unwrap()).collect();
    let far = order.iter().enumerate().find(|(place, n)| n.abs_diff(*place) > 10);
    assert_eq!(far, None, "oldest first: {order:?}");
    assert_eq!(stage.db.count("accounts where reason is not null or paused_at is not null").await, 0);
    stage.metric("account_paused", &[("account", "main")], 0.0).await;
    stage.metric("account_balance", &[("account", "main")], 1_000.0).await;
    stage.finish().await;
}

#[tokio::test]
async fn one_job_alone_is_let_through_by_the_probe() {
    let mut stage = two_accounts().await;
    stage.start().await;
    stage.gateway.set_account("C0", |account| account.balance = 0);
    stage.publish("high", &jobs("main", 0, 1)).await;
    becomes("the account", "paused".to_owned(), async || state(&stage).await).await;
    stage.gateway.set_account("C0", |account| account.balance = 10);
    let row = stage.settled("main-000", "accepted").await;
    assert_eq!((row.attempts, row.code), (1, Some(2)));
    becomes("the account", "active".to_owned(), async || state(&stage).await).await;
    stage.finish().await;
}

#[tokio::test]
async fn a_pause_outlasts_a_restart() {
    let mut stage = two_accounts().await;
    stage.start().await;
    stage.gateway.set_account("C0", |account| account.frozen = true);
    stage.publish("normal", &jobs("main", 0, 5)).await;
    stage.states("waiting/account_paused 5").await;
    becomes("the account", "paused".to_owned(), async || state(&stage).await).await;
    stage.stop().await;
    let before = stage.gateway.stats().submissions;
    stage.tempo.probe = Duration::from_secs(600);
    stage.start().await;
    stage.publish("high", &jobs("main", 5, 5)).await;
    stage.publish("normal", &jobs("a1", 100, 5)).await;
    stage.states("accepted 5, waiting/account_paused 10").await;
    assert_eq!(stage.gateway.stats().submissions, before + 5, "nothing goes to the paused account");
    stage.stop().await;
    stage.gateway.set_account("C0", |account| account.frozen = false);
    stage.tempo.probe = Duration::from_millis(300);
    stage.start().await;
    stage.states("accepted 15").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_pause_by_an_operator_is_not_ended_by_a_probe() {
    let mut stage = two_accounts().await;
    stage.start().await;
    let pause = "update accounts set state = 'paused', paused_at = now(), paused_by = 'operator', reason = 'test' \
                 where name = 'main'";
    assert_eq!(stage.db.execute(pause).await, 1);
    stage.metric("account_paused", &[("account", "main")], 1.0).await;
    stage.publish("normal", &jobs("main", 0, 3)).await;
    stage.publish("normal", &jobs("a1", 100, 3)).await;
    stage.states("accepted 3, waiting/account_paused 3").await;
    assert_eq!(stage.gateway.stats().balance_queries, 0);
    let resume = "update accounts set state = 'active', paused_at = null, paused_by = null, reason = null \
                  where name = 'main'";
    assert_eq!(stage.db.execute(resume).await, 1);
    stage.states("accepted 6").await;
    stage.finish().await;
}

#[tokio::test]
async fn a_backlog_says_that_its_account_is_paused_and_that_it_is_not() {
    let mut stage = two_accounts().await;
    stage.set("accounts.main.rate", "1/s");
    stage.set("accounts.main.burst", "1");
    stage.start().await;
    stage.publish("normal", &jobs("main", 0, 60)).await;
    let waiting =
        async |reason: &str| stage.db.count(&format!("jobs where on_room and wait_reason = '{reason}'")).await;
    eventually("a backlog", async || match waiting("rate_limited").await {
        20.. => Ok(()),
        few => Err(few),
    })
    .await;
    dispatcher(&["accounts", "pause", "main"]).postgres(&stage.db.url).ok();
    becomes("all know", 0, async || waiting("rate_limited").await).await;
    assert!(waiting("account_paused").await >= 20);
    dispatcher(&["accounts", "resume", "main"]).postgres(&stage.db.url).ok();
    becomes("all know", 0, async || waiting("account_paused").await).await;
    assert!(waiting("rate_limited").await >= 10);
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_pause_by_an_operator_holds_before_the_daemon_looks_at_it() {
    let mut stage = two_accounts().await;
    stage.tempo.accounts = Duration::from_secs(3_600);
    stage.start().await;
    dispatcher(&["accounts", "pause", "main"]).postgres(&stage.db.url).ok();
    stage.publish("normal", &jobs("main", 0, 20)).await;
    stage.publish("normal", &jobs("a1", 100, 20)).await;
    becomes("stored", 20, async || stage.db.count("jobs where account = 'main'").await).await;
    stage.job("main-000", |job| job.wait_reason.as_deref() == Some("account_paused")).await;
    stage.submissions(20).await;
    assert_eq!(stage.db.count("attempts where account = 'main'").await, 0);
    dispatcher(&["accounts", "resume", "main"]).postgres(&stage.db.url).ok();
    stage.states("accepted 40").await;
    assert_eq!(stage.db.count("jobs where attempts <> 1").await, 0);
    stage.finish().await;
}

#[tokio::test]
async fn a_fallback_takes_over_new_and_parked_jobs() {
    let mut stage = two_accounts().await;
    stage.set("accounts.main.fallback", "a1");
    stage.tempo.probe = Duration::from_secs(600);
    stage.start().await;
    stage.gateway.set_account("C0", |account| account.balance = 0);
    stage.publish("normal", &jobs("main", 0, 1)).await;
    becomes("the account", "paused".to_owned(), async || state(&stage).await).await;
    stage.publish("normal", &jobs("main", 1, 9)).await;
    stage.states("accepted 10").await;
    assert_eq!(stage.db.count("jobs where account = 'a1' and attempts = 1").await, 10, "the parked one too");
    stage.finish().await;
}

#[tokio::test]
async fn what_is_scheduled_while_its_account_is_paused_stays_with_it() {
    let mut stage = two_accounts().await;
    stage.set("accounts.main.fallback", "a1");
    stage.start().await;
    let pause = "update accounts set state = 'paused', paused_at = now(), paused_by = 'operator', reason = 'test' \
                 where name = 'main'";
    assert_eq!(stage.db.execute(pause).await, 1);
    stage.metric("account_paused", &[("account", "main")], 1.0).await;
    let mut scheduled = jobs("main", 0, 2);
    let in_an_hour = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    scheduled.iter_mut().for_each(|job| job["not_before"] = in_an_hour.clone().into());
    stage.publish("normal", &scheduled).await;
    stage.states("waiting/scheduled 2").await;
    assert_eq!(stage.db.count("jobs where account = 'main'").await, 2);
    // The time of one comes during the pause, that of the other one after it.
    let due = "update jobs set not_before = now(), due_at = now() where state = 'waiting'";
    stage.db.execute("update jobs set not_before = now(), due_at = now() where id = 'main-000'").await;
    assert_eq!(stage.settled("main-000", "accepted").await.account, "a1");
    let resume = "update accounts set state = 'active', paused_at = null, paused_by = null, reason = null \
                  where name = 'main'";
    assert_eq!(stage.db.execute(resume).await, 1);
    stage.metric("account_paused", &[("account", "main")], 0.0).await;
    stage.db.execute(due).await;
    assert_eq!(stage.settled("main-001", "accepted").await.account, "main");
    stage.finish().await;
}

#[tokio::test]
async fn a_gateway_that_hangs_keeps_no_operators_pause_waiting() {
    let mut stage = two_accounts().await;
    let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
    stage.set("gateway.submit_url", &url);
    stage.set("gateway.timeout", "3m");
    stage.start().await;
    gateway.stall_answers();
    let by_gateway = "update accounts set state = 'paused', paused_at = now(), paused_by = 'gateway', reason = 'test' \
                      where name = 'main'";
    assert_eq!(stage.db.execute(by_gateway).await, 1);
    becomes("it is asked", true, async || stage.gateway.stats().balance_queries > 0).await;
    let by_operator = "update accounts set state = 'paused', paused_at = now(), paused_by = 'operator', reason = 'test' \
                       where name = 'a1'";
    assert_eq!(stage.db.execute(by_operator).await, 1);
    stage.metric("account_paused", &[("account", "a1")], 1.0).await;
    gateway.resume();
    stage.finish().await;
}
