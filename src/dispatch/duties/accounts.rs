//! Accounts pause and resume: by the gateway's word, by a probe, by an operator in another process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::clock::Look;
use super::{BATCH, pause};
use crate::dispatch::desk::{Desk, Notice, Notices};
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::{AccountRow, Balance, LedgerError, Pause};
use crate::domain::pace::Mode;

/// The longest wait between two probes, in units of the first.
const PROBE_BACKOFF: u32 = 10;

/// When a paused account is asked for its balance next.
struct Probe {
    at: Instant,
    wait: Duration,
}

pub(super) async fn run(desk: Arc<Desk>, pace: Arc<Pace>, notices: Arc<Mutex<Notices>>, stop: CancellationToken) {
    let mut probes = HashMap::new();
    let mut last = Look::at_both(&desk);
    let mut notices = notices.lock().await;
    while !stop.is_cancelled() {
        tokio::select! {
            biased;
            notice = notices.next() => if let Some(notice) = notice && heed(&desk, notice, &stop).await {
                notices.done(&desk);
            },
            () = pause(desk.settings.tempo.accounts, &stop) => {}
        }
        if !notices.is_empty() {
            continue;
        }
        let look = Look::at_both(&desk);
        if look.set_since(last).is_some() {
            probe_at_once(&mut probes);
        }
        last = look;
        match refresh(&desk, &pace).await {
            Ok(rows) => {
                if let Err(error) = reroute(&desk, &pace).await {
                    debug!(%error, "parked jobs are handed to the fallback later");
                }
                probe_due(&desk, &pace, &rows, &mut probes).await;
            }
            Err(error) => debug!(%error, "accounts are looked at again later"),
        }
    }
}

/// Commits a notice; tries until Postgres takes it, or the session ends. True if it is committed.
async fn heed(desk: &Desk, notice: &Notice, stop: &CancellationToken) -> bool {
    while !stop.is_cancelled() {
        let done = match notice {
            Notice::Faulty { account, reason, refusals } => {
                let name = desk.account_name(*account);
                let pause = Pause { by_operator: false, reason: reason.clone(), refusals: *refusals };
                let paused = desk.ports.upkeep.pause(name, &pause).await;
                if let Ok(true) = paused {
                    error!(account = name, reason, "the account is paused: its jobs wait");
                }
                paused
            }
            Notice::Cured { account } => {
                let name = desk.account_name(*account);
                let resumed = desk.ports.upkeep.resume(name).await;
                if let Ok(true) = resumed {
                    info!(account = name, "the account is cured and resumes");
                }
                resumed
            }
        };
        if done.is_ok() {
            return true;
        }
        pause(desk.settings.tempo.accounts, stop).await;
    }
    false
}

async fn refresh(desk: &Desk, pace: &Pace) -> Result<Vec<AccountRow>, LedgerError> {
    let names: Vec<String> = desk.settings.accounts.iter().map(|account| account.name.clone()).collect();
    let rows = desk.ports.upkeep.accounts(&names).await?;
    apply(desk, pace, &rows, |account| desk.notices_are_heeded(account));
    Ok(rows)
}

/// Brings a new pacer to what Postgres says. An account about which a notice is not committed yet is paused
/// if Postgres says so: when its end is committed, it resumes.
pub(in crate::dispatch) fn restore(desk: &Desk, pace: &Pace, rows: &[AccountRow]) {
    apply(desk, pace, rows, |_| true);
}

/// Brings the pacer to what Postgres says of those accounts of which it `knows`.
fn apply(desk: &Desk, pace: &Pace, rows: &[AccountRow], knows: impl Fn(usize) -> bool) {
    for row in rows {
        let Some(account) = desk.settings.account(&row.name) else { continue };
        // Asked under the pacer's lock, where notices begin.
        pace.act(|pacer, now| match (&row.paused, pacer.mode(account)) {
            _ if !knows(account) => {}
            (Some(pause), Mode::Active) => {
                pacer.set_mode(account, Mode::Paused, now);
                if pause.refusals {
                    pacer.remember_refusals(account);
                }
            }
            (Some(pause), Mode::Probing { .. }) if pause.by_operator => pacer.set_mode(account, Mode::Paused, now),
            (None, Mode::Paused | Mode::Probing { .. }) => pacer.set_mode(account, Mode::Active, now),
            _ => {}
        });
        desk.metrics.account_paused.with_label_values(&[&row.name]).set(i64::from(row.paused.is_some()));
    }
}

/// What is parked for a paused account goes to the one that stands in for it.
async fn reroute(desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
    for account in 0..desk.settings.accounts.len() {
        let (mode, stand_in) = pace.act(|pacer, _| {
            let stand_in = desk.settings.chain(account).skip(1).find(|other| pacer.mode(*other) == Mode::Active);
            (pacer.mode(account), stand_in)
        });
        let (Mode::Paused, Some(stand_in)) = (mode, stand_in) else { continue };
        let (from, to) = (desk.account_name(account), desk.account_name(stand_in));
        let moved = desk.ports.upkeep.reroute(from, to, BATCH).await?;
        if !moved.is_empty() {
            info!(jobs = moved.len(), from, to, "parked jobs go through the fallback account");
        }
        pace.act(|pacer, _| moved.into_iter().for_each(|priority| pacer.add_backlog(stand_in, priority, 1)));
    }
    Ok(())
}

/// A wrong clock is refused as a wrong password is (40501): one that was set may be right now.
fn probe_at_once(probes: &mut HashMap<usize, Probe>) {
    probes.values_mut().for_each(|probe| probe.at = Instant::now());
}

/// Asks the balance of accounts that the gateway's word paused, each in its own time.
async fn probe_due(desk: &Desk, pace: &Pace, rows: &[AccountRow], probes: &mut HashMap<usize, Probe>) {
    let first = desk.settings.tempo.probe;
    for row in rows {
        let Some(account) = desk.settings.account(&row.name) else { continue };
        match &row.paused {
            Some(pause) if !pause.by_operator => {}
            _ => {
                probes.remove(&account);
                continue;
            }
        }
        let probe = probes.entry(account).or_insert_with(|| Probe { at: Instant::now() + first, wait: first });
        if Instant::now() < probe.at {
            continue;
        }
        probe.wait = (probe.wait * 2).min(first * PROBE_BACKOFF);
        probe.at = Instant::now() + probe.wait;
        let balance = desk.ports.gateway.balance(account, desk.now()).await;
        debug!(account = row.name, ?balance, "probed a paused account");
        if let Balance::Left(left) = balance {
            desk.metrics.account_balance.with_label_values(&[&row.name]).set(left as f64);
            if left > 0 {
                pace.act(|pacer, now| pacer.set_mode(account, Mode::Probing { out: false }, now));
            }
        }
    }
}
