//! The balance of each account, asked by interval: for the gauge, and for a warning in time.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::pause;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::Balance;

/// The first look comes after the first interval: a daemon that starts again and again asks nothing.
pub(super) async fn run(desk: Arc<Desk>, every: Duration, stop: CancellationToken) {
    let mut low = vec![false; desk.settings.accounts.len()];
    loop {
        pause(every, &stop).await;
        for (account, is_low) in low.iter_mut().enumerate() {
            if stop.is_cancelled() {
                return;
            }
            look(&desk, account, is_low).await;
        }
    }
}

/// Says once that little is left, and once that it is no longer so.
async fn look(desk: &Desk, account: usize, is_low: &mut bool) {
    let name = desk.account_name(account);
    let left = match desk.ports.gateway.balance(account, desk.now()).await {
        Balance::Left(left) => left,
        // What is wrong with the account, its jobs find out.
        refused => return debug!(account = name, ?refused, "the balance is not known"),
    };
    desk.metrics.account_balance.with_label_values(&[name]).set(left as f64);
    let now_low = left < desk.settings.accounts[account].balance_low;
    match (now_low, *is_low) {
        (true, false) => warn!(account = name, left, "little is left of the balance: top it up"),
        (false, true) => info!(account = name, left, "the balance is no longer low"),
        _ => {}
    }
    *is_low = now_low;
}
