//! What the dispatcher is told at its start, already checked.

use std::time::Duration;

use crate::domain::codes::CodeTable;
use crate::domain::message::Rules;
use crate::domain::pace::account::AccountPace;
use crate::domain::pace::bucket::Bucket;
use crate::domain::quiet::QuietHours;
use crate::domain::retry::RetryPolicy;

/// One account.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Its name in the configuration.
    pub name: String,
    /// Its limits.
    pub pace: AccountPace,
    /// A balance below this is warned of; in messages.
    pub balance_low: i64,
    /// Characters of the signature that are billed with each text.
    pub signature: usize,
    /// The index of the account that takes over new and parked jobs while this one is paused.
    pub fallback: Option<usize>,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How messages are decoded.
    pub rules: Rules,
    /// The accounts, in the order of their index.
    pub accounts: Vec<AccountSettings>,
    /// Messages of each priority that RabbitMQ gives out at a time.
    pub prefetch: usize,
    /// Every number's bucket.
    pub mobile: Bucket,
    /// Postgres counts what a number gets over long windows.
    pub number_limited: bool,
    /// When each priority is quiet.
    pub quiet: QuietHours,
    /// When to retry.
    pub retry: RetryPolicy,
    /// What codes mean.
    pub codes: CodeTable,
    /// How long settled jobs are kept.
    pub retention: Duration,
    /// How long rejections and notes of operations are kept.
    pub keep_records: Duration,
    /// Between two looks at the balances; `None`: they are asked only while an account is paused.
    pub balance_every: Option<Duration>,
    /// How long what is on the wire may take to finish.
    pub drain_timeout: Duration,
    /// Changes of jobs are published to the exchange of events.
    pub events: bool,
    /// The pace of the periodic duties.
    pub tempo: Tempo,
}

/// Intervals that are no configuration: the contract promises what follows from them.
#[derive(Clone, Copy, Debug)]
pub struct Tempo {
    /// The first wait before connecting again; doubles up to twenty times this.
    pub reconnect: Duration,
    /// Between two looks for jobs to release.
    pub release: Duration,
    /// A released job that has not come back after this long is released again.
    pub lost: Duration,
    /// Between two looks for expired jobs.
    pub expire: Duration,
    /// Between two looks for claims that have run out.
    pub reclaim: Duration,
    /// Between two looks at the accounts.
    pub accounts: Duration,
    /// The first wait before a paused account's balance is asked for; doubles up to ten times this.
    pub probe: Duration,
    /// Between two counts for the gauges.
    pub gauges: Duration,
    /// Between two looks for the jobs of receipts that had none.
    pub receipts: Duration,
    /// Between two batches of pruning.
    pub prune: Duration,
    /// Between two looks for events that no hint announced.
    pub events: Duration,
    /// From the start to the first look at the accounts' balances.
    pub balance: Duration,
}

impl Default for Tempo {
    fn default() -> Self {
        Tempo {
            reconnect: Duration::from_millis(250),
            release: Duration::from_millis(200),
            lost: Duration::from_secs(60),
            expire: Duration::from_secs(2),
            reclaim: Duration::from_secs(2),
            accounts: Duration::from_secs(1),
            probe: Duration::from_secs(60),
            gauges: Duration::from_secs(5),
            receipts: Duration::from_millis(500),
            prune: Duration::from_secs(30),
            events: Duration::from_secs(1),
            balance: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// `account` and, in order, those that stand in for it.
    pub fn chain(&self, account: usize) -> impl Iterator<Item = usize> + '_ {
        // The configuration has no circles; the limit only makes that plain.
        std::iter::successors(Some(account), |account| self.accounts[*account].fallback).take(self.accounts.len())
    }

    /// The accounts' names, in the order of their indices.
    pub fn account_names(&self) -> impl Iterator<Item = &str> {
        self.accounts.iter().map(|account| account.name.as_str())
    }

    /// The index of the account of that name.
    pub fn account(&self, name: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.name == name)
    }
}
