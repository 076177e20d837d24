//! An account cannot send, for any of the reasons that the gateway knows: its jobs wait, the others run on.

use std::collections::BTreeMap;

use dispatcher::simulator::{Account, Options, Scripted};
use serde_json::Value;

use crate::support::metrics::Scrape;
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, dispatcher, job, number};

/// A change to an account, and the code that it brings about.
type Fault = (fn(&mut Account), i64);

const FAULTS: [Fault; 6] = [
    (|account| account.key = "another".into(), 40502),
    (|account| account.frozen = true, 4050),
    (|account| account.balance = 0, 4051),
    (|account| account.ip_denied = true, 4052),
    (|account| account.ip_illegal = true, 400),
    (|account| account.signature_pending = true, 4075),
];

/// Jobs of each account: with those of the one that is well, a thousand and more.
const EACH: usize = 150;

fn jobs(account: usize, from: usize, count: usize) -> Vec<Value> {
    let name = if account == 0 { "main".to_owned() } else { format!("a{account}") };
    let one = |n: usize| {
        let mut body = job(&format!("{name}-{n:04}"), &number(account * 10_000 + n));
        body["account"] = name.as_str().into();
        body
    };
    (from..from + count).map(one).collect()
}

#[tokio::test]
async fn each_fault_pauses_its_account_and_says_so_once() {
    let accounts: Vec<Account> = (0..=FAULTS.len()).map(|n| Account::new(format!("C{n}"), "key")).collect();
    let mut stage = Stage::with(Options { accounts, ..lenient() }).await;
    stage.migrate().await;
    for account in 1..=FAULTS.len() {
        stage.set(&format!("accounts.a{account}.rate"), "100/s");
        stage.set(&format!("accounts.a{account}.burst"), "1");
        stage.gateway.set_account(&format!("C{account}"), FAULTS[account - 1].0);
    }
    let process = stage.process();
    process.ready().await;
    let all: Vec<Value> = (0..=FAULTS.len()).flat_map(|account| jobs(account, 0, EACH)).collect();
    stage.publish("normal", &all).await;
    let parked = FAULTS.len() * EACH;
    stage.states(&format!("accepted {EACH}, waiting/account_paused {parked}")).await;
    becomes("paused accounts", 6, async || stage.db.count("accounts where state = 'paused'").await).await;
    assert_eq!(stage.db.count("jobs where state = 'waiting' and attempts > 0").await, 0, "no attempt is spent");
    // As for each: one line, one metric, its reason for operators.
    becomes("metrics", 6.0, async || Scrape::of(process.admin).await.sum("account_paused", &[])).await;
    let log = process.log();
    assert_eq!(log.lines().filter(|line| line.contains("ERROR")).count(), 6, "{log}");
    for (account, (_, code)) in (1..).zip(FAULTS) {
        let told = log.lines().filter(|line| line.contains("is paused") && line.contains(&format!("code {code}:")));
        assert_eq!(told.count(), 1, "{code}: {log}");
        let reason = format!("accounts where name = 'a{account}' and reason like 'code {code}:%'");
        assert_eq!(stage.db.count(&reason).await, 1, "{code}");
        let asked = stage.gateway.stats().codes[&code];
        assert!(asked < EACH as u64 / 2, "{code}: most park without a request, {asked} asked");
    }

    // Mended, and resumed by hand.
    for account in 1..=FAULTS.len() {
        stage.gateway.set_account(&format!("C{account}"), |it| *it = Account::new(it.id.clone(), "key"));
        dispatcher(&["accounts", "resume", &format!("a{account}")])
            .amqp(&stage.broker.url)
            .postgres(&stage.db.url)
            .ok();
    }
    stage.states(&format!("accepted {}", EACH + parked)).await;
    assert_eq!(stage.db.count("jobs where attempts <> 1").await, 0, "each was sent once");
    drained_in_order(&stage);
    let (status, log) = process.terminate().await;
    assert!(status.success(), "{log}");
    stage.finish().await;
}

/// At the account's rate, oldest first. What is claimed in one commit departs in any order.
fn drained_in_order(stage: &Stage) {
    let mut accounts: BTreeMap<String, Vec<(f64, usize)>> = BTreeMap::new();
    for submit in stage.gateway.submissions().into_iter().filter(|submit| submit.code == Some(2)) {
        let number: usize = submit.mobile[3..].parse().unwrap();
        accounts.entry(submit.account).or_default().push((submit.at, number % 10_000));
    }
    accounts.remove("C0");
    for (account, taken) in accounts {
        let far = taken.iter().enumerate().find(|(place, (_, n))| n.abs_diff(*place) > EACH / 2);
        assert!(far.is_none(), "{account}: {far:?}");
        let took = taken[EACH - 1].0 - taken[0].0;
        // A machine that stalls lets requests bunch up on their way; without the limit it is a moment.
        assert!(took > EACH as f64 / 100.0 * 0.3, "{account}: {EACH} jobs within {took:.2} s");
    }
}

#[tokio::test]
async fn a_fallback_takes_no_job_that_the_first_account_may_have_taken() {
    let accounts = vec![Account::new("C0", "key"), Account::new("C1", "key")];
    let mut stage = Stage::with(Options { accounts, ..lenient() }).await;
    stage.set("accounts.main.fallback", "a1");
    stage.set("gateway.timeout", "700ms");
    stage.set("gateway.connect_timeout", "600ms");
    stage.set("retry.initial", "1s");
    stage.tempo.probe = std::time::Duration::from_secs(600);
    for n in 0..2 {
        stage.gateway.script(&number(n), vec![Scripted::Judged(Box::new(Scripted::Hang))]);
    }
    stage.start().await;
    let (held, mut resent) = (job("held", &number(0)), job("resent", &number(1)));
    resent["on_unknown"] = "resend".into();
    stage.publish("high", [&held, &resent]).await;
    stage.submissions(2).await;
    stage.gateway.set_account("C0", |account| account.frozen = true);
    // It is refused, pauses its account, and goes through the fallback.
    stage.publish("normal", [&job("plain", &number(2))]).await;
    let plain = stage.settled("plain", "accepted").await;
    assert_eq!(plain.account, "a1");
    stage.settled("held", "in_doubt").await;
    let resent = stage.job("resent", |job| job.wait_reason.as_deref() == Some("account_paused")).await;
    assert_eq!((resent.account.as_str(), resent.attempts), ("main", 1), "nobody knows what main did with it");
    // Parked jobs are handed over again and again: this one comes after them.
    stage.publish("normal", [&job("later", &number(3))]).await;
    stage.settled("later", "accepted").await;
    assert!(stage.gateway.submissions().iter().all(|submit| submit.account == "C0" || submit.mobile >= number(2)));
    stage.gateway.set_account("C0", |account| account.frozen = false);
    let resume = "update accounts set state = 'active', paused_at = null, paused_by = null, reason = null";
    stage.db.execute(resume).await;
    let resent = stage.settled("resent", "accepted").await;
    assert_eq!((resent.account.as_str(), resent.attempts), ("main", 2));
    stage.finish().await;
}
