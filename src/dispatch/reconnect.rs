//! Delays between tries to connect, by the crate `backoff`. It is unmaintained (RUSTSEC-2025-0012)
//! but sound; it is named in this file only, so that it can be exchanged here (`backon`).

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// Exponential, with jitter, without an end.
pub struct Delays(ExponentialBackoff);

impl Delays {
    /// From 250 ms, doubling up to 5 s, each ± 30 %.
    pub fn new() -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(250))
            .with_multiplier(2.0)
            .with_randomization_factor(0.3)
            .with_max_interval(Duration::from_secs(5))
            .with_max_elapsed_time(None)
            .build();
        Delays(policy)
    }

    /// The next delay.
    pub fn next(&mut self) -> Duration {
        // Without a maximum elapsed time there always is one.
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// The connection stood: begin again from the first delay.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

impl Default for Delays {
    fn default() -> Self {
        Delays::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_limit_and_never_end() {
        let mut delays = Delays::new();
        let first = delays.next();
        assert!((175..=325).contains(&first.as_millis()), "{first:?}");
        let last = (0..100).map(|_| delays.next()).last().unwrap();
        assert!((3..=7).contains(&last.as_secs()), "{last:?}");
        delays.reset();
        assert!(delays.next() < Duration::from_millis(326));
    }
}
