//! Balances are asked for by interval.

use crate::support::metrics::Scrape;
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn the_gauge_follows_the_balance_and_a_low_one_is_warned_of_once() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage.set("gateway.balance_interval", "1s");
    stage.set("accounts.main.balance_low", "100");
    let id = "C00000001";
    stage.gateway.set_account(id, |account| account.balance = 70);
    let process = stage.process();
    process.ready().await;
    let balance = async || Scrape::of(process.admin).await.sum("account_balance", &[]);
    becomes("the balance", 70.0, balance).await;
    stage.gateway.set_account(id, |account| account.balance = 60);
    becomes("the balance", 60.0, balance).await;
    stage.gateway.set_account(id, |account| account.balance = 500);
    becomes("the balance", 500.0, balance).await;
    let (status, log) = process.terminate().await;
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("little is left of the balance").count(), 1, "{log}");
    assert_eq!(log.matches("the balance is no longer low").count(), 1, "{log}");
    stage.finish().await;
}

#[tokio::test]
async fn a_balance_falls_by_the_parts_that_were_accepted_and_lasts_for_hours() {
    let mut stage = Stage::new().await;
    stage.set("gateway.balance_interval", "1s");
    let id = "C00000001";
    stage.gateway.set_account(id, |account| account.balance = 1_000);
    stage.start().await;
    stage.metric("account_balance", &[], 1_000.0).await;
    let lasts = async |stage: &Stage| {
        let scrape = stage.scrape().await;
        scrape.samples().find(|(name, _)| name.starts_with("dispatcher_account_balance_hours")).map(|(_, hours)| hours)
    };
    assert_eq!(lasts(&stage).await, None, "nothing goes");
    // With a signature of 6: 64 characters are one part, 65 are two.
    let mut jobs = vec![job("one", &number(1)), job("two", &number(2))];
    jobs[0]["content"] = "好".repeat(64).into();
    jobs[1]["content"] = "好".repeat(65).into();
    stage.publish("high", &jobs).await;
    stage.metric("account_balance", &[], 997.0).await;
    becomes("a forecast", true, async || lasts(&stage).await.is_some_and(|hours| hours > 0.0)).await;
    stage.gateway.set_account(id, |account| account.balance -= 40);
    stage.metric("account_balance_unexplained_total", &[("account", "main")], 40.0).await;
    stage.gateway.set_account(id, |account| account.balance = 5_000);
    stage.metric("account_balance", &[], 5_000.0).await;
    stage.metric("account_balance_unexplained_total", &[("account", "main")], 40.0).await;
    stage.finish().await;
}
