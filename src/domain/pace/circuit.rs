//! The gateway's circuit breaker: after consecutive failures to reach it nothing is sent but, now
//! and then, one job as a probe.

use std::time::Duration;

use super::bucket::Tick;

/// Failures in a row that open the circuit.
const OPENS_AFTER: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Closed: all may go. Open: none until `probe_at`, then one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circuit {
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    since: Tick,
    probe_at: Tick,
    pause: Duration,
    probing: bool,
}

impl Circuit {
    /// True while jobs are held back.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Has it been open for so long?
    pub fn is_open_for(&self, long: Duration, now: Tick) -> bool {
        self.open.is_some_and(|open| open.since + long <= now)
    }

    /// When the next probe may go, while open.
    pub fn probe_at(&self) -> Option<Tick> {
        self.open.filter(|open| !open.probing).map(|open| open.probe_at)
    }

    /// May a job go now?
    pub fn admits(&self, now: Tick) -> bool {
        self.open.is_none_or(|open| !open.probing && now >= open.probe_at)
    }

    /// A job goes: while open it is the probe.
    pub fn granted(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// A job that was granted did not get as far as a request: the next one probes.
    pub fn abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// The gateway was reached: whatever it said, the circuit closes.
    pub fn reached(&mut self) {
        *self = Circuit::default();
    }

    /// A request certainly did not leave. True when this opens the circuit.
    pub fn failed(&mut self, now: Tick) -> bool {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            Some(open) if open.probing => {
                let pause = (open.pause * 2).min(LONGEST_PAUSE);
                self.open = Some(Open { probe_at: now + pause, pause, probing: false, ..*open });
                false
            }
            // An answer to a request from before it opened.
            Some(_) => false,
            None if self.failures >= OPENS_AFTER => {
                let probe_at = now + FIRST_PAUSE;
                self.open = Some(Open { since: now, probe_at, pause: FIRST_PAUSE, probing: false });
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_opens_probes_with_one_and_closes() {
        let mut circuit = Circuit::default();
        let opened: Vec<bool> = (0..4).map(|_| circuit.failed(at(0))).collect();
        assert_eq!(opened, [false, false, true, false]);
        assert!(!circuit.admits(at(999)) && circuit.admits(at(1_000)));
        circuit.granted();
        assert!(!circuit.admits(at(1_001)), "one probe at a time");
        assert!(!circuit.failed(at(1_100)));
        assert_eq!(circuit.probe_at(), Some(at(3_100)));
        circuit.granted();
        circuit.abandoned();
        assert!(circuit.admits(at(3_100)));
        circuit.granted();
        circuit.reached();
        assert!(circuit.admits(at(3_100)) && !circuit.is_open());
    }

    #[test]
    fn one_success_in_between_keeps_it_closed() {
        let mut circuit = Circuit::default();
        for _ in 0..2 {
            assert!(!circuit.failed(at(0)));
        }
        circuit.reached();
        for _ in 0..2 {
            assert!(!circuit.failed(at(0)));
        }
        assert!(!circuit.is_open());
    }
}
