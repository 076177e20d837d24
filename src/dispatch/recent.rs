//! Jobs that Postgres is known to have, by a digest of id and payload: a flood of repeats is
//! answered from memory and takes no turn at a limiter. Bounded, in number and in time: two generations.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use md5::{Digest, Md5};
use tokio::time::Instant;

use crate::domain::job::Job;

/// Digests in a generation: 100,000 jobs in all, about 4 MB.
const GENERATION: usize = 50_000;
/// A generation lasts no longer: a flood of repeats is quicker, and of a row that somebody deletes nothing is
/// remembered for long.
const LONGEST: Duration = Duration::from_secs(300);

type Key = [u8; 16];

/// The jobs committed last.
pub struct Recent {
    generations: Mutex<Generations>,
    lasts: Duration,
}

struct Generations {
    young: HashSet<Key>,
    old: HashSet<Key>,
    /// When the young one began.
    begun: Instant,
}

/// Names a job and what it says.
pub fn key(job: &Job) -> Key {
    Md5::new().chain_update(job.digest()).chain_update(job.id.as_bytes()).finalize().into()
}

impl Recent {
    /// Nothing is known at `now`. What Postgres keeps for `retention` is not remembered for longer.
    pub fn new(retention: Duration, now: Instant) -> Recent {
        let generations = Generations { young: HashSet::new(), old: HashSet::new(), begun: now };
        Recent { generations: Mutex::new(generations), lasts: (retention / 2).min(LONGEST) }
    }

    /// The job is committed.
    pub fn insert(&self, key: Key, now: Instant) {
        let mut generations = self.at(now);
        if generations.young.len() >= GENERATION {
            generations.succeed(now);
        }
        generations.young.insert(key);
    }

    /// Is the same job, with the same payload, committed?
    pub fn contains(&self, key: &Key, now: Instant) -> bool {
        let generations = self.at(now);
        generations.young.contains(key) || generations.old.contains(key)
    }

    /// The generations of that time: none is older than twice what one lasts.
    fn at(&self, now: Instant) -> MutexGuard<'_, Generations> {
        let mut generations = self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for _ in 0..2 {
            let end = generations.begun + self.lasts;
            if now >= end {
                generations.succeed(end);
            }
        }
        // Both have ended, however long ago.
        if now >= generations.begun + self.lasts {
            generations.begun = now;
        }
        generations
    }
}

impl Generations {
    /// The young one is the old one from now on.
    fn succeed(&mut self, begun: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.begun = begun;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn number(n: usize) -> Key {
        (n as u128).to_be_bytes()
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_postgres_keeps_it() {
        let start = Instant::now();
        for ms in (0..5_000).step_by(100) {
            let recent = Recent::new(2 * SECOND, start);
            let then = start + Duration::from_millis(ms);
            recent.insert(number(1), then);
            assert!(recent.contains(&number(1), then + SECOND), "{ms}: it lasts for one generation");
            assert!(!recent.contains(&number(1), then + 2 * SECOND), "{ms}: and no longer than two");
            assert!(!recent.contains(&number(1), then + 100 * SECOND));
        }
    }

    #[test]
    fn a_long_retention_is_not_kept_in_memory() {
        let start = Instant::now();
        let recent = Recent::new(Duration::from_secs(90 * 86_400), start);
        recent.insert(number(1), start);
        assert!(recent.contains(&number(1), start + LONGEST));
        assert!(!recent.contains(&number(1), start + 2 * LONGEST));
    }

    #[test]
    fn a_generation_ends_when_it_is_full() {
        let start = Instant::now();
        let recent = Recent::new(Duration::from_secs(3_600), start);
        (0..2 * GENERATION).for_each(|n| recent.insert(number(n), start));
        assert!(recent.contains(&number(0), start));
        recent.insert(number(2 * GENERATION), start);
        assert!(!recent.contains(&number(0), start) && recent.contains(&number(GENERATION), start));
    }
}
