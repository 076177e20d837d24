//! Balances are asked for by interval.

use crate::support::becomes;
use crate::support::metrics::Scrape;
use crate::support::stage::Stage;

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
