//! Limits and order, measured where they count: in the gateway's own log.

mod account;
mod backlog;
mod mobile;

use dispatcher::simulator::Submission;

/// When each submit to `mobile` was read, in Unix seconds.
pub fn times(submissions: &[Submission], mobile: &str) -> Vec<f64> {
    submissions.iter().filter(|submit| submit.mobile == mobile).map(|submit| submit.at).collect()
}

/// The contents sent to `mobile`, in order.
fn contents(submissions: &[Submission], mobile: &str) -> Vec<String> {
    submissions.iter().filter(|submit| submit.mobile == mobile).map(|submit| submit.content.clone()).collect()
}

/// The shortest time between two in a row.
pub fn closest(times: &[f64]) -> f64 {
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min)
}

/// The most that fell into any `window` seconds.
pub fn most_within(times: &[f64], window: f64) -> usize {
    let within = |from: usize| times[from..].iter().take_while(|at| **at < times[from] + window).count();
    (0..times.len()).map(within).max().unwrap_or_default()
}
