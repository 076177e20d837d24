//! The gateway of a storm, and the daemon's configuration for it.

use std::collections::HashMap;
use std::time::Duration;

use dispatcher::simulator::{Account, Faults, Latency, Options, Simulator};

use super::TIMEOUT;
use super::services::Services;

/// Requests on the wire at a time, for each account.
pub const IN_FLIGHT: usize = 64;
/// For each account. What is published between two kills keeps the daemon at work for most of its life.
const RATE: &str = "120/s";
/// `retry.max_attempts`.
pub const MAX_ATTEMPTS: i32 = 6;
/// What the gateway is told to answer now and then, with its share: codes that fail a job, and some
/// that are to be tried again.
const CODES: [(i64, f64); 5] = [(4030, 0.01), (4072, 0.01), (0, 0.02), (4086, 0.01), (40501, 0.001)];

/// Whether an answer fails its job for good.
pub fn is_permanent(code: i64) -> bool {
    matches!(code, 4030 | 4072)
}

/// A gateway that takes its time, refuses some, and loses some of its answers.
pub async fn start(seed: u64) -> anyhow::Result<Simulator> {
    let faults = Faults {
        codes: CODES.to_vec(),
        hang: 0.002,
        reset: 0.003,
        cut: 0.002,
        reset_before: 0.003,
        http_500: 0.002,
        html: 0.001,
        garbage: 0.001,
    };
    let accounts = vec![Account::new("C1", "key-1"), Account::new("C2", "key-2")];
    let latency = Latency::LogNormal { p50: Duration::from_millis(40), p99: Duration::from_millis(300) };
    Simulator::start(Options { accounts, faults, latency, seed: Some(seed), ..Options::default() }).await
}

/// The daemon's configuration.
pub fn environment(services: &Services, gateway: &Simulator) -> Vec<(String, String)> {
    let in_flight = IN_FLIGHT.to_string();
    let settings = HashMap::from([
        ("default_account", "main".to_owned()),
        ("accounts.main.api_id", "C1".to_owned()),
        ("accounts.main.api_key", "key-1".to_owned()),
        ("accounts.main.rate", RATE.to_owned()),
        ("accounts.main.max_in_flight", in_flight.clone()),
        ("accounts.other.api_id", "C2".to_owned()),
        ("accounts.other.api_key", "key-2".to_owned()),
        ("accounts.other.rate", RATE.to_owned()),
        ("accounts.other.max_in_flight", in_flight),
        ("gateway.submit_url", gateway.submit_url()),
        ("gateway.timeout", format!("{}ms", TIMEOUT.as_millis())),
        ("gateway.connect_timeout", "500ms".to_owned()),
        ("retry.max_attempts", MAX_ATTEMPTS.to_string()),
        ("retry.initial", "500ms".to_owned()),
        ("retry.max", "5s".to_owned()),
    ]);
    services.environment(settings)
}
