//! Accounts pause and resume: by the gateway's word, by a probe, by an operator in another process.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info};

use super::clock::Look;
use super::{BATCH, pause};
use crate::dispatch::desk::{Desk, Notice, Notices};
use crate::dispatch::pacer::Pace;
use crate::dispatch::ports::{AccountRow, Balance, LedgerError, Pause};
use crate::domain::pace::{Mode, Pacer};

pub(super) async fn run(desk: Arc<Desk>, pace: Arc<Pace>, notices: Arc<Mutex<Notices>>, stop: CancellationToken) {
    let mut asking = Asking { desk: desk.clone(), pace: pace.clone(), of: HashMap::new() };
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
            desk.probes.at_once(Instant::now());
        }
        last = look;
        match refresh(&desk, &pace).await {
            Ok(rows) => {
                if let Err(error) = reroute(&desk, &pace).await {
                    debug!(%error, "parked jobs are handed to the fallback later");
                }
                asking.ask(&rows);
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
    let names: Vec<String> = desk.settings.account_names().map(String::from).collect();
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
        desk.saw_paused(account, row.paused.is_some());
        desk.metrics.account_paused.with_label_values(&[&row.name]).set(i64::from(row.paused.is_some()));
    }
}

/// The account that sends what this one, paused, does not.
pub(super) fn stand_in(desk: &Desk, pacer: &Pacer, account: usize) -> Option<usize> {
    desk.settings.chain(account).skip(1).find(|other| pacer.mode(*other) == Mode::Active)
}

/// What is parked for a paused account goes to the one that stands in for it.
async fn reroute(desk: &Desk, pace: &Pace) -> Result<(), LedgerError> {
    for account in 0..desk.settings.accounts.len() {
        let (mode, stand_in) = pace.act(|pacer, _| (pacer.mode(account), stand_in(desk, pacer, account)));
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

/// The questions for balances that are on their way.
struct Asking {
    desk: Arc<Desk>,
    pace: Arc<Pace>,
    of: HashMap<usize, AbortOnDropHandle<()>>,
}

impl Asking {
    /// Asks for those accounts that the gateway's word paused, each in its own time and beside this duty: a gateway that
    /// hangs must not keep an operator's pause waiting.
    fn ask(&mut self, rows: &[AccountRow]) {
        let paused = rows.iter().filter(|row| row.paused.as_ref().is_some_and(|pause| !pause.by_operator));
        let paused: Vec<usize> = paused.filter_map(|row| self.desk.settings.account(&row.name)).collect();
        self.of.retain(|_, question| !question.is_finished());
        for account in self.desk.probes.due(&paused, self.desk.settings.tempo.probe, Instant::now()) {
            let (desk, pace) = (self.desk.clone(), self.pace.clone());
            let question = || AbortOnDropHandle::new(tokio::spawn(async move { probe(&desk, &pace, account).await }));
            self.of.entry(account).or_insert_with(question);
        }
    }
}

/// Lets one job through where anything is left.
async fn probe(desk: &Desk, pace: &Pace, account: usize) {
    let (name, balance) = (desk.account_name(account), desk.ports.gateway.balance(account, desk.now()).await);
    debug!(account = name, ?balance, "probed a paused account");
    let Balance::Left(left) = balance else { return };
    desk.metrics.account_balance.with_label_values(&[name]).set(left as f64);
    if left > 0 {
        pace.act(|pacer, now| {
            // It may have resumed meanwhile.
            if pacer.mode(account) != Mode::Active {
                pacer.set_mode(account, Mode::Probing { out: false }, now);
            }
        });
    }
}
