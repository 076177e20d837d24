//! The numbers that operators watch. No label ever holds a number or a job id, and every label's
//! values are a closed list: account names of the configuration, words of the domain, known codes.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::domain::codes;
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
    /// Jobs that nobody knows the fate of.
    pub in_doubt: IntGauge,
    /// 1 while paused.
    pub account_paused: IntGaugeVec,
    /// Messages left, where it was asked for.
    pub account_balance: GaugeVec,
    /// 1 while the gateway cannot be reached.
    pub circuit_open: IntGauge,
    receipts: IntCounterVec,
    /// Replies of people.
    pub replies: IntCounter,
    /// Messages whose id was known with the same payload.
    pub duplicates: IntCounter,
    /// 1 while the consuming connection is up.
    pub rabbitmq_connected: IntGauge,
    /// Rows in a batch.
    pub batch_rows: HistogramVec,
    /// Time of a batch.
    pub batch_seconds: HistogramVec,
    /// Numbers whose token bucket is not full.
    pub tracked_mobiles: Gauge,
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
            in_doubt: gauge(r, "jobs_in_doubt", "Jobs of which it cannot be known whether ihuyi took them."),
            account_paused: gauges(r, "account_paused", "1 while the account is paused.", &["account"]),
            account_balance: registered(r, GaugeVec::new(opts("account_balance", "Messages left."), &["account"])),
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
            batch_rows: histograms(r, "postgres_batch_rows", "Rows in a batch.", &["statement"], &ROWS),
            batch_seconds: histograms(r, "postgres_batch_seconds", "Time of a batch.", &["statement"], &SECONDS),
            tracked_mobiles: registered(
                r,
                Gauge::with_opts(opts("tracked_mobiles", "Numbers whose token bucket is not full.")),
            ),
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
        WaitReason::ALL.iter().for_each(|r| drop(self.waiting.with_label_values(&[r.as_str()])));
    }

    /// An attempt of `account` ended.
    pub fn submission(&self, account: &str, outcome: Outcome, code: Option<i64>) {
        self.submissions.with_label_values(&[account, outcome.as_str(), &code_label(code)]).inc();
    }

    /// `jobs` of `account` came to an end.
    pub fn finished(&self, account: &str, state: State, code: Option<i64>, jobs: u64) {
        self.finished.with_label_values(&[account, state.as_str(), &code_label(code)]).inc_by(jobs);
    }

    /// A receipt came in. What other codes than 2 mean is not published; they share the labels of the
    /// known ones.
    pub fn receipt(&self, code: Option<i64>) {
        self.receipts.with_label_values(&[&code_label(code)]).inc();
    }

    /// How many jobs wait for each reason; those not named do not.
    pub fn set_waiting(&self, by_reason: &[(WaitReason, i64)]) {
        for reason in WaitReason::ALL.iter().copied() {
            let jobs = by_reason.iter().find(|(r, _)| *r == reason).map_or(0, |(_, jobs)| *jobs);
            self.waiting.with_label_values(&[reason.as_str()]).set(jobs);
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
