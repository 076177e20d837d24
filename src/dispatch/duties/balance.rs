//! The balance of each account, asked by interval: for the gauges, for a warning in time, and to see whether
//! it falls by what was sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::pause;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::Balance;
use crate::domain::balance::{Look, Watch};

/// What is known of one account from look to look.
#[derive(Clone, Default)]
struct Known {
    watch: Watch,
    is_low: bool,
}

/// The first look comes soon, but not at once: a daemon that starts again and again asks nothing.
pub(super) async fn run(desk: Arc<Desk>, every: Duration, stop: CancellationToken) {
    let start = Instant::now();
    let mut known = vec![Known::default(); desk.settings.accounts.len()];
    let mut wait = desk.settings.tempo.balance.min(every);
    loop {
        pause(wait, &stop).await;
        wait = every;
        for (account, known) in known.iter_mut().enumerate() {
            if stop.is_cancelled() {
                return;
            }
            look(&desk, account, known, start).await;
        }
    }
}

async fn look(desk: &Desk, account: usize, known: &mut Known, start: Instant) {
    let name = desk.account_name(account);
    let left = match desk.ports.gateway.balance(account, desk.now()).await {
        Balance::Left(left) => left,
        // What is wrong with the account, its jobs find out.
        refused => return debug!(account = name, ?refused, "the balance is not known"),
    };
    // Read after the answer: what was billed in it is mostly counted by now.
    let parts = desk.parts[account].load(Ordering::Relaxed);
    desk.metrics.account_balance.with_label_values(&[name]).set(left as f64);
    let on_wire = desk.settings.accounts[account].pace.max_in_flight;
    let beyond = known.watch.look(Look { at: start.elapsed(), left, parts }, on_wire);
    desk.metrics.account_balance_unexplained.with_label_values(&[name]).inc_by(beyond);
    desk.metrics.set_balance_hours(name, known.watch.hours());
    if beyond > 0 {
        debug!(account = name, beyond, "the balance fell by more message parts than were accepted");
    }
    warn_once(desk, account, left, &mut known.is_low);
}

/// Says once that little is left, and once that it is no longer so.
fn warn_once(desk: &Desk, account: usize, left: i64, is_low: &mut bool) {
    let name = desk.account_name(account);
    let now_low = left < desk.settings.accounts[account].balance_low;
    match (now_low, *is_low) {
        (true, false) => warn!(account = name, left, "little is left of the balance: top it up"),
        (false, true) => info!(account = name, left, "the balance is no longer low"),
        _ => {}
    }
    *is_low = now_low;
}
