//! What one picture shows: computed from two looks at the daemon, without a terminal.

use std::time::Duration;

use serde::Serialize;

use super::scrape::{Sample, Scrape};
use crate::domain::codes;
use crate::domain::job::{Outcome, State, WaitReason};
use crate::store::query::AccountInfo;

/// One look. What could not be asked says why.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// `/metrics`.
    pub metrics: Result<Scrape, String>,
    /// The accounts' states and reasons, from Postgres.
    pub accounts: Result<Vec<AccountInfo>, String>,
}

/// How the failures are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The busiest first.
    #[default]
    Rate,
    /// The most frequent since the daemon's start first.
    Total,
    /// By code.
    Code,
}

impl Order {
    /// The next one, round and round.
    pub fn next(self) -> Order {
        match self {
            Order::Rate => Order::Total,
            Order::Total => Order::Code,
            Order::Code => Order::Rate,
        }
    }

    /// The word on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Order::Rate => "rate",
            Order::Total => "total",
            Order::Code => "code",
        }
    }
}

/// A picture.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Frame {
    /// What could not be asked.
    pub problems: Vec<String>,
    /// Received, accepted, ….
    pub rates: Vec<Rate>,
    /// Where work stands.
    pub queues: Vec<Count>,
    /// Waits at the limiters.
    pub limiters: Vec<Limiter>,
    /// 1 while the gateway cannot be reached.
    pub circuit_open: bool,
    /// The accounts.
    pub accounts: Vec<Account>,
    /// Answers other than success.
    pub failures: Vec<Failure>,
}

/// A counter.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rate {
    pub name: &'static str,
    pub per_second: f64,
    /// Since the daemon's start.
    pub total: f64,
}

/// So many.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Count {
    pub name: String,
    pub jobs: f64,
}

/// One limiter, over the time between the looks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limiter {
    pub name: &'static str,
    /// Jobs that passed it in a second.
    pub per_second: f64,
    /// What they waited in memory on average; `None` when nobody passed.
    pub mean_ms: Option<f64>,
}

/// One account.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Account {
    pub name: String,
    pub paused: bool,
    /// Why.
    pub reason: String,
    /// When last asked for.
    pub balance: Option<f64>,
    pub in_flight: f64,
    pub accepted_per_second: f64,
    /// From request to reply on average; `None` when nothing was answered.
    pub reply_ms: Option<f64>,
}

/// Attempts that ended so.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub outcome: String,
    /// A number, `none` or `other`.
    pub code: String,
    /// What the code says, in English and Chinese.
    pub meaning: String,
    pub per_second: f64,
    pub total: f64,
}

/// The picture after `now`, `elapsed` after `before`.
pub(super) fn frame(before: &Look, now: &Look, elapsed: Duration, order: Order) -> Frame {
    let nothing = Scrape::default();
    let problems = [("metrics", now.metrics.as_ref().err()), ("Postgres", now.accounts.as_ref().err())];
    let seen = now.metrics.as_ref().unwrap_or(&nothing);
    // After a restart, or a failed look, there is nothing to compare with.
    let last = before.metrics.as_ref().unwrap_or(seen);
    let view = View { last, seen, seconds: elapsed.as_secs_f64().max(0.001) };
    Frame {
        problems: problems.into_iter().filter_map(|(name, error)| Some(format!("{name}: {}", error?))).collect(),
        rates: view.rates(),
        queues: view.queues(),
        limiters: vec![view.limiter("mobile"), view.limiter("account")],
        circuit_open: seen.value("gateway_circuit_open").is_some_and(|open| open > 0.0),
        accounts: view.accounts(now.accounts.as_deref().unwrap_or_default()),
        failures: view.failures(order),
    }
}

struct View<'a> {
    last: &'a Scrape,
    seen: &'a Scrape,
    seconds: f64,
}

impl View<'_> {
    /// What was added between the looks; a counter that went back began again at zero.
    fn added(&self, name: &str, is: impl Fn(&Sample) -> bool) -> f64 {
        let (last, seen) = (self.last.sum(name, &is), self.seen.sum(name, &is));
        if seen >= last { seen - last } else { seen }
    }

    fn rate(&self, name: &'static str, metric: &str, is: impl Fn(&Sample) -> bool) -> Rate {
        let total = self.seen.sum(metric, &is);
        Rate { name, per_second: self.added(metric, is) / self.seconds, total }
    }

    fn rates(&self) -> Vec<Rate> {
        let finished = |name, state: State| {
            self.rate(name, "jobs_finished_total", move |sample| sample.label("state") == state.as_str())
        };
        vec![
            self.rate("received", "jobs_received_total", |_| true),
            self.rate("submitted", "submissions_total", |_| true),
            finished("accepted", State::Accepted),
            finished("failed", State::Failed),
            finished("expired", State::Expired),
            finished("in doubt", State::InDoubt),
            self.rate("rejected", "jobs_rejected_total", |_| true),
            self.rate("repeats", "duplicates_total", |_| true),
        ]
    }

    fn queues(&self) -> Vec<Count> {
        let ready = self.seen.all("queue_messages").iter();
        let mut queues: Vec<Count> = ready
            .map(|sample| Count { name: format!("ready, {}", sample.label("queue")), jobs: sample.value })
            .collect();
        queues.push(Count { name: "on the wire".into(), jobs: self.seen.sum("jobs_in_flight", |_| true) });
        for reason in WaitReason::ALL {
            let jobs = self.seen.sum("jobs_waiting", |sample| sample.label("reason") == reason.as_str());
            if jobs > 0.0 {
                queues.push(Count { name: format!("waiting, {reason}"), jobs });
            }
        }
        queues.push(Count { name: "in doubt".into(), jobs: self.seen.value("jobs_in_doubt").unwrap_or(0.0) });
        queues
    }

    /// The mean of a histogram between the looks, in milliseconds.
    fn mean_ms(&self, name: &str, is: impl Fn(&Sample) -> bool) -> (f64, Option<f64>) {
        let count = self.added(&format!("{name}_count"), &is);
        let sum = self.added(&format!("{name}_sum"), &is);
        (count, (count > 0.0).then_some(1_000.0 * sum / count))
    }

    fn limiter(&self, name: &'static str) -> Limiter {
        let (count, mean_ms) = self.mean_ms("limiter_wait_seconds", |sample| sample.label("limiter") == name);
        Limiter { name, per_second: count / self.seconds, mean_ms }
    }

    /// Those that the daemon names, with their reasons from Postgres; those that only Postgres knows are not
    /// configured any more.
    fn accounts(&self, known: &[AccountInfo]) -> Vec<Account> {
        let names = self.seen.all("account_paused").iter().map(|sample| sample.label("account").to_owned());
        names.map(|name| self.account(known.iter().find(|info| info.name == name), name)).collect()
    }

    fn account(&self, info: Option<&AccountInfo>, name: String) -> Account {
        let own = |sample: &Sample| sample.label("account") == name;
        let paused = self.seen.sum("account_paused", own) > 0.0;
        let accepted = |sample: &Sample| own(sample) && sample.label("outcome") == Outcome::Accepted.as_str();
        let balance = self.seen.all("account_balance").iter().find(|sample| own(sample)).map(|sample| sample.value);
        Account {
            paused,
            reason: info.filter(|_| paused).and_then(|info| info.reason.clone()).unwrap_or_default(),
            balance,
            in_flight: self.seen.sum("jobs_in_flight", own),
            accepted_per_second: self.added("submissions_total", accepted) / self.seconds,
            reply_ms: self.mean_ms("submit_duration_seconds", own).1,
            name,
        }
    }

    fn failures(&self, order: Order) -> Vec<Failure> {
        let mut failures: Vec<Failure> = Vec::new();
        for sample in self.seen.all("submissions_total") {
            let (outcome, code) = (sample.label("outcome"), sample.label("code"));
            let is_told = failures.iter().any(|failure| failure.outcome == outcome && failure.code == code);
            if outcome != Outcome::Accepted.as_str() && !is_told {
                failures.push(self.failure(outcome, code));
            }
        }
        // By code first, so that equals keep a place of their own on the screen.
        failures.sort_by_key(|failure| (failure.code.parse::<i64>().unwrap_or(i64::MAX), failure.outcome.clone()));
        match order {
            Order::Rate => failures.sort_by(|a, b| b.per_second.total_cmp(&a.per_second)),
            Order::Total => failures.sort_by(|a, b| b.total.total_cmp(&a.total)),
            Order::Code => {}
        }
        failures
    }

    fn failure(&self, outcome: &str, code: &str) -> Failure {
        let is = |sample: &Sample| sample.label("outcome") == outcome && sample.label("code") == code;
        let meaning = code.parse().ok().and_then(codes::meaning);
        Failure {
            outcome: outcome.to_owned(),
            code: code.to_owned(),
            meaning: meaning.map(|(chinese, english)| format!("{english} ({chinese})")).unwrap_or_default(),
            per_second: self.added("submissions_total", is) / self.seconds,
            total: self.seen.sum("submissions_total", is),
        }
    }
}
