//! The numbers that operators watch. No label ever holds a number or a job id, and every label's
//! values are a closed list: account names of the configuration, words of the domain, known codes.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::codes;
use crate::domain::event;
use crate::domain::job::{Outcome, Priority, State, WaitReason};
use crate::domain::message::RejectReason;

/// All metrics, registered. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Every delivery of a job message.
    pub received: IntCounterVec,
    /// Messages that were no jobs.
    pub rejected: IntCounterVec,
    finished: IntCounterVec,
    submissions: IntCounterVec,
    /// From departure to reply.
    pub submit_seconds: HistogramVec,
    /// From published to accepted.
    pub latency_seconds: HistogramVec,
    /// Time that a job waited in memory at a limiter: `mobile` or `account`.
    pub limiter_wait: HistogramVec,
    /// Between claim and reply.
    pub in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    /// Jobs that wait for an account that is not configured.
    pub stranded: IntGauge,
    /// Jobs that nobody knows the fate of.
    pub in_doubt: IntGauge,
    /// 1 while paused.
    pub account_paused: IntGaugeVec,
    /// Messages left, where it was asked for.
    pub account_balance: GaugeVec,
    account_balance_hours: GaugeVec,
    /// Parts by which a balance fell beyond what was accepted.
    pub account_balance_unexplained: IntCounterVec,
    /// 1 while the gateway cannot be reached.
    pub circuit_open: IntGauge,
    receipts: IntCounterVec,
    /// Replies of people.
    pub replies: IntCounter,
    /// Messages whose id was known with the same payload.
    pub duplicates: IntCounter,
    /// 1 while the consuming connection is up.
    pub rabbitmq_connected: IntGauge,
    /// 1 while RabbitMQ takes no messages from this process.
    pub rabbitmq_blocked: IntGauge,
    /// Rows in a batch.
    pub batch_rows: HistogramVec,
    /// Time of a batch.
    pub batch_seconds: HistogramVec,
    /// Events that are committed and not yet published.
    pub events_pending: IntGauge,
    events_published: IntCounterVec,
    /// Numbers whose token bucket is not full.
    pub tracked_mobiles: Gauge,
    /// Jobs that failed because `retry.max_attempts` was used up.
    retries_exhausted: IntCounterVec,
    queue_messages: IntGaugeVec,
    /// 1 where ihuyi's receipts are listened for.
    pub callbacks_enabled: IntGauge,
}

/// Milliseconds to a minute.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// From published to accepted may take hours.
const LATENCY: [f64; 16] =
    [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];
const ROWS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// A registry of its own, with all metrics at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Metrics {
            received: counters(r, "jobs_received_total", "Deliveries of job messages.", &["priority"]),
            rejected: counters(r, "jobs_rejected_total", "Messages that are no valid jobs.", &["reason"]),
            finished: counters(r, "jobs_finished_total", "Jobs that came to an end.", &["account", "state", "code"]),
            submissions: counters(r, "submissions_total", "Attempts that ended.", &["account", "outcome", "code"]),
            submit_seconds: histograms(r, "submit_duration_seconds", "From request to reply.", &["account"], &SECONDS),
            latency_seconds: histograms(
                r,
                "job_latency_seconds",
                "From published to accepted.",
                &["priority"],
                &LATENCY,
            ),
            limiter_wait: histograms(r, "limiter_wait_seconds", "Wait in memory at a limiter.", &["limiter"], &SECONDS),
            in_flight: gauges(r, "jobs_in_flight", "Jobs between claim and reply.", &["account"]),
            waiting: gauges(r, "jobs_waiting", "Jobs that Postgres holds, by reason.", &["reason"]),
            stranded: gauge(r, "jobs_stranded", "Jobs that wait for an account that is not configured."),
            in_doubt: gauge(r, "jobs_in_doubt", "Jobs of which it cannot be known whether ihuyi took them."),
            account_paused: gauges(r, "account_paused", "1 while the account is paused.", &["account"]),
            account_balance: registered(r, GaugeVec::new(opts("account_balance", "Messages left."), &["account"])),
            account_balance_hours: registered(
                r,
                GaugeVec::new(opts("account_balance_hours", "Hours until no message is left."), &["account"]),
            ),
            account_balance_unexplained: counters(
                r,
                "account_balance_unexplained_total",
                "Message parts by which the balance fell beyond what was accepted.",
                &["account"],
            ),
            circuit_open: gauge(r, "gateway_circuit_open", "1 while the gateway cannot be reached."),
            receipts: counters(r, "receipts_total", "Receipts, without their repeats.", &["code"]),
            replies: registered(
                r,
                IntCounter::with_opts(opts("replies_total", "Replies of people, without their repeats.")),
            ),
            duplicates: registered(
                r,
                IntCounter::with_opts(opts("duplicates_total", "Repeats that were not sent again.")),
            ),
            rabbitmq_connected: gauge(r, "rabbitmq_connected", "1 while this process consumes."),
            rabbitmq_blocked: gauge(r, "rabbitmq_blocked", "1 while one of RabbitMQ's alarms blocks publishers."),
            batch_rows: histograms(r, "postgres_batch_rows", "Rows in a batch.", &["statement"], &ROWS),
            batch_seconds: histograms(r, "postgres_batch_seconds", "Time of a batch.", &["statement"], &SECONDS),
            events_pending: gauge(r, "events_pending", "Events that are committed and not yet published."),
            events_published: counters(r, "events_published_total", "Events that the broker has taken.", &["type"]),
            tracked_mobiles: registered(
                r,
                Gauge::with_opts(opts("tracked_mobiles", "Numbers whose token bucket is not full.")),
            ),
            retries_exhausted: counters(
                r,
                "retries_exhausted_total",
                "Jobs that failed with their attempts used up.",
                &["account"],
            ),
            queue_messages: gauges(r, "queue_messages", "Messages that stand ready in RabbitMQ.", &["queue"]),
            callbacks_enabled: gauge(r, "callbacks_enabled", "1 where receipts are listened for."),
            registry: registry.clone(),
        };
        let build = gauges(r, "build_info", "Always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        register(r, prometheus::process_collector::ProcessCollector::for_self());
        metrics.begin_at_zero();
        metrics
    }

    /// A series that appears only with its first event hides that event from `increase()`.
    fn begin_at_zero(&self) {
        for priority in Priority::ALL {
            self.received.with_label_values(&[priority.as_str()]);
            self.latency_seconds.with_label_values(&[priority.as_str()]);
        }
        ["mobile", "account"].iter().for_each(|limiter| drop(self.limiter_wait.with_label_values(&[limiter])));
        drop(self.receipts.with_label_values(&[&code_label(Some(codes::SUCCESS))]));
        RejectReason::ALL.iter().for_each(|r| drop(self.rejected.with_label_values(&[r.as_str()])));
        event::TYPES.iter().for_each(|kind| drop(self.events_published.with_label_values(&[kind])));
        WaitReason::ALL.iter().for_each(|r| drop(self.waiting.with_label_values(&[r.as_str()])));
    }

    /// The accounts may be others from now on: gauges of those that are gone would stand for ever.
    pub fn forget_accounts(&self) {
        self.in_flight.reset();
        self.account_paused.reset();
        self.account_balance.reset();
        self.account_balance_hours.reset();
    }

    /// All series of these accounts, at zero: see [`Metrics::begin_at_zero`].
    pub fn begin_accounts<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.submissions.with_label_values(&[name, Outcome::Accepted.as_str(), &code_label(Some(codes::SUCCESS))]);
            self.submissions.with_label_values(&[name, Outcome::NotSent.as_str(), &code_label(None)]);
            self.submissions.with_label_values(&[name, Outcome::Unknown.as_str(), &code_label(None)]);
            self.finished(name, State::Accepted, Some(codes::SUCCESS), 0);
            self.finished(name, State::InDoubt, None, 0);
            self.finished(name, State::Expired, None, 0);
            self.finished(name, State::Cancelled, None, 0);
            self.finished(name, State::Failed, None, 0);
            // -1 stands for all that ihuyi has not published.
            for code in codes::published().chain([-1]).filter(|code| *code != codes::SUCCESS) {
                self.finished(name, State::Failed, Some(code), 0);
            }
            self.retries_exhausted.with_label_values(&[name]);
            self.submit_seconds.with_label_values(&[name]);
            self.in_flight.with_label_values(&[name]);
            self.account_paused.with_label_values(&[name]);
            self.account_balance_unexplained.with_label_values(&[name]);
        }
    }

    /// An attempt of `account` ended, and left its job in `state`.
    pub fn ended(&self, account: &str, outcome: Outcome, state: State, code: Option<i64>) {
        self.submission(account, outcome, code);
        if state.is_settled() || state == State::InDoubt {
            self.finished(account, state, code, 1);
        }
        if state == State::Failed && outcome != Outcome::Permanent {
            self.retries_exhausted.with_label_values(&[account]).inc();
        }
    }

    /// An attempt of `account` ended.
    pub fn submission(&self, account: &str, outcome: Outcome, code: Option<i64>) {
        self.submissions.with_label_values(&[account, outcome.as_str(), &code_label(code)]).inc();
    }

    /// `jobs` of `account` came to an end.
    pub fn finished(&self, account: &str, state: State, code: Option<i64>, jobs: u64) {
        self.finished.with_label_values(&[account, state.as_str(), &code_label(code)]).inc_by(jobs);
    }

    /// The broker has taken an event.
    pub fn event_published(&self, kind: &str) {
        // Types of a newer version share one label.
        let label = if event::TYPES.contains(&kind) { kind } else { "other" };
        self.events_published.with_label_values(&[label]).inc();
    }

    /// A receipt came in. What other codes than 2 mean is not published; they share the labels of the
    /// known ones.
    pub fn receipt(&self, code: Option<i64>) {
        self.receipts.with_label_values(&[&code_label(code)]).inc();
    }

    /// How long the balance lasts at the present pace; `None`: nothing goes, so nobody can say.
    pub fn set_balance_hours(&self, account: &str, hours: Option<f64>) {
        match hours {
            Some(hours) => self.account_balance_hours.with_label_values(&[account]).set(hours),
            // An error says that it was not there.
            None => drop(self.account_balance_hours.remove_label_values(&[account])),
        }
    }

    /// How many jobs wait for each reason; those not named do not.
    pub fn set_waiting(&self, by_reason: &[(WaitReason, i64)]) {
        for reason in WaitReason::ALL.iter().copied() {
            let jobs = by_reason.iter().find(|(r, _)| *r == reason).map_or(0, |(_, jobs)| *jobs);
            self.waiting.with_label_values(&[reason.as_str()]).set(jobs);
        }
    }

    /// The session has ended: nothing is on its way from here, and nobody asks whether the gateway is reached.
    pub fn end_session(&self, accounts: impl Iterator<Item = impl AsRef<str>>) {
        self.rabbitmq_connected.set(0);
        self.circuit_open.set(0);
        accounts.for_each(|name| self.in_flight.with_label_values(&[name.as_ref()]).set(0));
        self.tracked_mobiles.set(0.0);
    }

    /// Another replica counts what waits and asks for balances from now on; what this one has seen would stand for
    /// ever.
    pub fn stand_by(&self, accounts: impl Iterator<Item = impl AsRef<str>>) {
        accounts.for_each(|name| self.account_paused.with_label_values(&[name.as_ref()]).set(0));
        self.account_balance.reset();
        self.account_balance_hours.reset();
        self.set_waiting(&[]);
        self.stranded.set(0);
        self.in_doubt.set(0);
        self.events_pending.set(0);
    }

    /// How many messages are ready in each queue; `None` while nobody knows.
    pub fn set_queues(&self, depths: Option<&[(&str, u32)]>) {
        match depths {
            None => self.queue_messages.reset(),
            Some(depths) => {
                for (queue, messages) in depths {
                    self.queue_messages.with_label_values(&[queue]).set(i64::from(*messages));
                }
            }
        }
    }

    /// Prometheus' text format.
    pub fn render(&self) -> String {
        // Text of metrics that were registered once always encodes.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Known codes by number; the gateway may make up others, which share one label.
fn code_label(code: Option<i64>) -> String {
    match code {
        None => "none".into(),
        Some(code) if codes::meaning(code).is_some() => code.to_string(),
        Some(_) => "other".into(),
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("dispatcher_{name}"), help)
}

fn register(registry: &Registry, collector: impl prometheus::core::Collector + 'static) {
    // Names are distinct: a test registers them all.
    registry.register(Box::new(collector)).expect("metric names are distinct");
}

fn registered<T: prometheus::core::Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<T>) -> T {
    let collector = made.expect("metric names and labels are valid");
    register(registry, collector.clone());
    collector
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(opts(name, help), labels))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::with_opts(opts(name, help)))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(opts(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(opts, labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_metrics_are_there_and_codes_are_a_closed_list() {
        let metrics = Metrics::new();
        metrics.submission("main", Outcome::Retry, Some(4080));
        metrics.submission("main", Outcome::Retry, Some(123_456));
        metrics.submission("main", Outcome::Unknown, None);
        metrics.finished("main", State::Accepted, Some(2), 1);
        let text = metrics.render();
        for expected in [
            r#"dispatcher_submissions_total{account="main",code="4080",outcome="retry"} 1"#,
            r#"code="other""#,
            r#"code="none""#,
            r#"dispatcher_jobs_received_total{priority="bulk"} 0"#,
            r#"dispatcher_jobs_rejected_total{reason="id_conflict"} 0"#,
            r#"dispatcher_jobs_waiting{reason="retry"} 0"#,
            "dispatcher_gateway_circuit_open 0",
            "dispatcher_build_info{version=",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
