//! A run of permanent refusals pauses its account, before a backlog is burnt.

use std::time::Duration;

use dispatcher::simulator::{Account, Options, Rules, Template};
use serde_json::Value;

use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, job, number};

/// Two accounts whose template can be taken down; each sends one job at a time.
async fn strict() -> Stage {
    let account = |id: &str| {
        let template = Template::new("7", "您的验证码是：【变量】。请不要把验证码泄露给其他人。");
        Account { templates: vec![template], ..Account::new(id, "key") }
    };
    let rules = Rules { strict_templates: true, ..lenient().rules };
    let mut stage = Stage::with(Options { accounts: vec![account("C0"), account("C1")], rules, ..lenient() }).await;
    stage.set("accounts.main.max_in_flight", "1");
    stage.set("accounts.main.rate", "100/s");
    stage.set("accounts.main.burst", "1");
    stage
}

fn jobs(account: &str, count: usize, mobile: impl Fn(usize) -> String) -> Vec<Value> {
    let one = |n: usize| {
        let mut body = job(&format!("{account}-{n:03}"), &mobile(n));
        body["content"] = "您的验证码是：2546。请不要把验证码泄露给其他人。".into();
        body["account"] = account.into();
        body
    };
    (0..count).map(one).collect()
}

fn take_down(stage: &Stage) {
    stage.gateway.set_account("C0", |account| account.templates = other());
}

/// Another template than the jobs'.
fn other() -> Vec<Template> {
    vec![Template::new("8", "您的订单【变量】已发货。")]
}

fn put_back(stage: &Stage) {
    stage.gateway.set_account("C0", |account| {
        account.templates = vec![Template::new("7", "您的验证码是：【变量】。请不要把验证码泄露给其他人。")];
    });
}

async fn pause(stage: &Stage) -> Option<(String, bool)> {
    let sql = "select reason, refusals from accounts where name = 'main' and state = 'paused'";
    sqlx::query_as(sql).fetch_optional(&stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn a_template_that_was_taken_down_burns_no_backlog() {
    let mut stage = strict().await;
    stage.tempo.probe = Duration::from_millis(500);
    stage.start().await;
    take_down(&stage);
    stage.publish("normal", &jobs("main", 200, number)).await;
    becomes("the account", true, async || pause(&stage).await.is_some()).await;
    // The other account's template stands.
    stage.publish("normal", &jobs("a1", 20, |n| number(500 + n))).await;
    becomes("the other account's jobs", 20, async || stage.db.count("jobs where state = 'accepted'").await).await;
    let reason =
        "20 numbers in a row refused for good, the last with code 4072: content does not match an approved template";
    assert_eq!(pause(&stage).await, Some((reason.to_owned(), true)));

    // Probes burn a job each, not more, and find no cure.
    becomes("two probes", true, async || stage.gateway.stats().codes[&4072] >= 22).await;
    let burnt = stage.db.count("jobs where state = 'failed' and code = 4072").await;
    let probed = stage.gateway.stats().balance_queries as i64;
    assert!(burnt <= 20 + 3 + probed, "the run, what was claimed with its last, and a job a probe: {burnt}, {probed}");
    becomes("a pause again", true, async || pause(&stage).await.is_some()).await;

    put_back(&stage);
    becomes("the account", true, async || pause(&stage).await.is_none()).await;
    becomes("no job waits", 0, async || stage.db.count("jobs where state not in ('accepted', 'failed')").await).await;
    let accepted = stage.db.count("jobs where state = 'accepted'").await;
    let failed = stage.db.count("jobs where state = 'failed'").await;
    assert_eq!(accepted + failed, 220);
    assert!(failed < 60, "{failed}");
    stage.finish().await;
}

#[tokio::test]
async fn the_cause_outlasts_a_restart() {
    let mut stage = strict().await;
    stage.set("accounts.main.pause_after_refusals", "5");
    stage.tempo.probe = Duration::from_secs(600);
    stage.start().await;
    take_down(&stage);
    stage.publish("normal", &jobs("main", 60, number)).await;
    becomes("the account", true, async || pause(&stage).await.is_some()).await;
    stage.stop().await;
    let before = stage.gateway.stats().codes[&4072];
    assert!(before < 10, "{before}");
    stage.tempo.probe = Duration::from_millis(300);
    stage.start().await;
    becomes("two probes", true, async || stage.gateway.stats().balance_queries >= 2).await;
    let (burnt, probed) = (stage.gateway.stats().codes[&4072] - before, stage.gateway.stats().balance_queries);
    assert!(burnt <= probed, "a job a probe: {burnt}, {probed}");
    put_back(&stage);
    becomes("the account", true, async || pause(&stage).await.is_none()).await;
    becomes("no job waits", 0, async || stage.db.count("jobs where state not in ('accepted', 'failed')").await).await;
    stage.finish().await;
}

#[tokio::test]
async fn one_bad_number_pauses_nothing_and_it_can_be_switched_off() {
    let mut stage = strict().await;
    stage.set("accounts.a1.pause_after_refusals", "0");
    stage.start().await;
    take_down(&stage);
    stage.gateway.set_account("C1", |account| account.templates = other());
    stage.publish("normal", &jobs("main", 30, |_| number(1))).await;
    stage.publish("normal", &jobs("a1", 60, |n| number(100 + n))).await;
    stage.states("failed 90").await;
    assert_eq!(stage.db.count("accounts where state = 'paused'").await, 0);
    stage.finish().await;
}
