//! Jobs that Postgres is known to have, by a digest of id and payload: a flood of repeats is
//! answered from memory and takes no turn at a limiter. Bounded: two generations.

use std::collections::HashSet;
use std::sync::Mutex;

use md5::{Digest, Md5};

use crate::domain::job::Job;

/// Digests in a generation: 100,000 jobs in all, about 4 MB.
const GENERATION: usize = 50_000;

type Key = [u8; 16];

/// The jobs committed last.
#[derive(Default)]
pub struct Recent(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<Key>,
    old: HashSet<Key>,
}

/// Names a job and what it says.
pub fn key(job: &Job) -> Key {
    Md5::new().chain_update(job.digest()).chain_update(job.id.as_bytes()).finalize().into()
}

impl Recent {
    /// The job is committed.
    pub fn insert(&self, key: Key) {
        let mut generations = self.generations();
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key);
    }

    /// Is the same job, with the same payload, committed?
    pub fn contains(&self, key: &Key) -> bool {
        let generations = self.generations();
        generations.young.contains(key) || generations.old.contains(key)
    }

    fn generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
