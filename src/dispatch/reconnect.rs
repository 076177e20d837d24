//! Delays between tries to connect, by the crate `backoff`. It is unmaintained (RUSTSEC-2025-0012)
//! but sound; it is named in this file only, so that it can be exchanged here (`backon`).

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// Exponential, without an end.
pub struct Delays(ExponentialBackoff);

impl Delays {
    /// From `first`, doubling up to twenty times that.
    pub fn new(first: Duration) -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_interval(first * 20)
            .with_max_elapsed_time(None)
            .build();
        Delays(policy)
    }

    /// The next delay, of which `jitter` (0.0 to 1.0) takes away up to a half: chance comes from
    /// outside, so that a simulation can repeat it.
    pub fn next_delay(&mut self, jitter: f64) -> Duration {
        // Without a maximum elapsed time there always is one.
        let full = self.0.next_backoff().unwrap_or(self.0.max_interval);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// The connection stood: begin again from the first delay.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_never_end() {
        let mut delays = Delays::new(Duration::from_millis(250));
        assert_eq!(delays.next_delay(0.0), Duration::from_millis(250));
        assert_eq!(delays.next_delay(1.0), Duration::from_millis(250));
        let last = (0..100).map(|_| delays.next_delay(0.0)).last();
        assert_eq!(last, Some(Duration::from_secs(5)));
        delays.reset();
        assert_eq!(delays.next_delay(0.0), Duration::from_millis(250));
    }
}
