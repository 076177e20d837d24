//! When paused accounts are asked for their balance. It outlives the session: one that breaks every minute must not
//! put the question off each time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// The longest wait between two probes, in units of the first.
const BACKOFF: u32 = 10;

/// The accounts that are paused by the gateway's word.
#[derive(Debug, Default)]
pub struct Probes(Mutex<HashMap<usize, Probe>>);

#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Instant,
    wait: Duration,
}

impl Probes {
    /// Of the accounts that are `paused` now, those whose time has come. The first wait is `first`; it doubles with
    /// each question.
    pub fn due(&self, paused: &[usize], first: Duration, now: Instant) -> Vec<usize> {
        let mut probes = self.probes();
        probes.retain(|account, _| paused.contains(account));
        let mut due = Vec::new();
        for account in paused {
            let probe = probes.entry(*account).or_insert(Probe { at: now + first, wait: first });
            if now >= probe.at {
                probe.wait = (probe.wait * 2).min(first * BACKOFF);
                probe.at = now + probe.wait;
                due.push(*account);
            }
        }
        due
    }

    /// All are due now. A wrong clock is refused as a wrong password is (40501): one that was set may be right.
    pub fn at_once(&self, now: Instant) {
        self.probes().values_mut().for_each(|probe| probe.at = now);
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<usize, Probe>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn questions_come_less_and_less_often() {
        let (probes, start) = (Probes::default(), Instant::now());
        let minutes = (0..60).filter(|n| probes.due(&[3], MINUTE, start + MINUTE * *n) == [3]);
        assert_eq!(minutes.collect::<Vec<_>>(), [1, 3, 7, 15, 25, 35, 45, 55]);
    }

    #[test]
    fn a_pause_that_begins_anew_waits_anew() {
        let (probes, start) = (Probes::default(), Instant::now());
        assert!(probes.due(&[0, 1], MINUTE, start).is_empty());
        assert_eq!(probes.due(&[0], MINUTE, start + MINUTE), [0]);
        assert!(probes.due(&[0, 1], MINUTE, start + MINUTE).is_empty());
        assert_eq!(probes.due(&[0, 1], MINUTE, start + MINUTE * 2), [1]);
        probes.at_once(start + MINUTE * 2);
        assert_eq!(probes.due(&[0, 1], MINUTE, start + MINUTE * 2), [0, 1]);
    }
}
