//! Events that could not be published, and what must not overtake them. They step aside, so that those
//! behind them go on; now and then a few of them try again.
//!
//! A queue that is full and refuses, or has no leader, refuses every event that is bound to it. An event
//! that a queue refuses may have arrived in the others: trying all of them again each time would flood
//! the healthy ones with repeats.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::event::Event;

/// The first pause before a few try again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many try at a time.
const PROBES: usize = 10;
/// So many may stand aside. When it is full, those behind wait as well: memory is bounded.
const MOST: usize = 20_000;

/// What stands aside in this process; Postgres has it all.
#[derive(Debug)]
pub(super) struct Aside {
    /// Refused; one of each job at most.
    refused: BTreeMap<i64, Option<String>>,
    /// Behind a refused one of the same job.
    behind: BTreeSet<i64>,
    jobs: HashSet<String>,
    /// Those that try in this round.
    probes: BTreeSet<i64>,
    last_probe: i64,
    pause: Duration,
    retry_at: Instant,
    /// A probe was taken.
    cured: bool,
}

impl Aside {
    pub fn new(now: Instant) -> Aside {
        Aside {
            refused: BTreeMap::new(),
            behind: BTreeSet::new(),
            jobs: HashSet::new(),
            probes: BTreeSet::new(),
            last_probe: 0,
            pause: FIRST_PAUSE,
            retry_at: now,
            cured: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// A round begins: the numbers that it leaves out, and how many events it may take up of `limit`.
    pub fn begin(&mut self, limit: u32, now: Instant) -> (Vec<i64>, u32) {
        self.probes.clear();
        self.cured = false;
        if !self.is_empty() && now >= self.retry_at {
            let probes = self.next_probes();
            self.last_probe = probes.last().copied().unwrap_or_default();
            self.probes = probes.into_iter().collect();
        }
        let left_out = |number: &&i64| !self.probes.contains(number);
        let numbers: Vec<i64> = self.refused.keys().filter(left_out).chain(&self.behind).copied().collect();
        let room = if numbers.len() < MOST { limit } else { self.probes.len() as u32 };
        (numbers, room)
    }

    /// In turn, those with the lowest numbers after the last ones.
    fn next_probes(&self) -> Vec<i64> {
        let after = self.refused.range(self.last_probe + 1..);
        let from_the_start = self.refused.range(..=self.last_probe);
        after.chain(from_the_start).take(PROBES).map(|(number, _)| *number).collect()
    }

    /// What Postgres has of it: `events`, in order, of at most `room`. A probe that is not there any more was published by
    /// another process, which served the shard before or serves it too: it is refused no longer, and what is behind
    /// it must not wait for it.
    pub fn found(&mut self, events: &[Event], room: u32) {
        let last = if events.len() < room as usize { i64::MAX } else { events.last().map_or(0, |event| event.number) };
        let there = |number: &i64| *number > last || events.iter().any(|event| event.number == *number);
        self.cured |= !self.probes.iter().all(there);
    }

    /// True where `event` must wait for another one of its job; it stands aside too.
    pub fn holds(&mut self, event: &Event) -> bool {
        let waits =
            !self.probes.contains(&event.number) && event.job_id.as_ref().is_some_and(|job| self.jobs.contains(job));
        if waits {
            self.behind.insert(event.number);
        }
        waits
    }

    /// The broker has it.
    pub fn taken(&mut self, event: &Event) {
        self.cured |= self.probes.contains(&event.number);
    }

    /// The broker refused it.
    pub fn refused(&mut self, event: &Event, now: Instant) {
        if self.is_empty() {
            self.retry_at = now + self.pause;
        }
        self.jobs.extend(event.job_id.clone());
        self.refused.insert(event.number, event.job_id.clone());
    }

    /// A round ends. Once a probe was taken, all may try again.
    pub fn end(&mut self, now: Instant) {
        if self.cured {
            *self = Aside { last_probe: self.last_probe, ..Aside::new(now) };
        } else if !self.probes.is_empty() {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.retry_at = now + self.pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64, job: &str) -> Event {
        let job_id = Some(job.to_owned()).filter(|job| !job.is_empty());
        let at = "2026-11-23T02:00:00Z".parse().unwrap();
        Event { number, kind: "job.accepted".into(), job_id, at, data: "{}".into() }
    }

    #[test]
    fn those_behind_go_on_but_for_the_same_job() {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        assert_eq!(aside.begin(100, now), (vec![], 100));
        aside.refused(&event(1, "a"), now);
        aside.refused(&event(2, ""), now);
        assert!(aside.holds(&event(3, "a")) && !aside.holds(&event(4, "b")) && !aside.holds(&event(5, "")));
        aside.end(now);
        assert_eq!(aside.begin(100, now), (vec![1, 2, 3], 100));
    }

    #[test]
    fn a_few_try_again_in_turn_and_one_success_frees_all() {
        let mut now = Instant::now();
        let mut aside = Aside::new(now);
        (1..=25).for_each(|number| aside.refused(&event(number, &format!("job-{number}")), now));
        assert!(aside.holds(&event(30, "job-1")));
        aside.end(now);
        let mut tried = Vec::new();
        for pause in [1, 2, 4] {
            now += Duration::from_secs(pause) - Duration::from_millis(1);
            assert_eq!(aside.begin(100, now).0.len(), 26);
            now += Duration::from_millis(1);
            let (left_out, _) = aside.begin(100, now);
            assert!(left_out.contains(&30), "what is behind does not try before its job's first");
            let probes: Vec<i64> = (1..=25).filter(|number| !left_out.contains(number)).collect();
            assert!(probes.iter().all(|number| !aside.holds(&event(*number, &format!("job-{number}")))));
            probes.iter().for_each(|number| aside.refused(&event(*number, &format!("job-{number}")), now));
            tried.extend(probes);
            aside.end(now);
        }
        let (first, wrapped) = tried.split_at(20);
        assert_eq!(first, (1..=20).collect::<Vec<_>>());
        assert_eq!(wrapped, [1, 2, 3, 4, 5, 21, 22, 23, 24, 25]);
        now += Duration::from_secs(8);
        aside.begin(100, now);
        aside.taken(&event(6, "job-6"));
        assert!(aside.holds(&event(31, "job-1")), "the round goes on as it began");
        aside.end(now);
        assert!(aside.is_empty() && aside.begin(100, now).0.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        (1..=MOST as i64).for_each(|number| aside.refused(&event(number, ""), now));
        assert_eq!(aside.begin(100, now).1, 0);
        let (left_out, room) = aside.begin(100, now + FIRST_PAUSE);
        assert_eq!((left_out.len(), room), (MOST - PROBES, 100));
    }

    #[test]
    fn a_refused_event_that_another_process_has_published_holds_up_nothing() {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        aside.begin(10, now);
        aside.refused(&event(1, "a"), now);
        aside.end(now);
        let later = now + FIRST_PAUSE;
        assert_eq!(aside.begin(10, later).0, [0_i64; 0], "it tries again");
        // But its row is gone, and there is another one.
        let next = event(2, "a");
        aside.found(std::slice::from_ref(&next), 10);
        assert!(aside.holds(&next), "in this round nobody knows");
        aside.end(later);
        assert!(aside.is_empty());
        aside.begin(10, later);
        assert!(!aside.holds(&next));
    }

    #[test]
    fn a_probe_that_did_not_fit_is_not_gone() {
        let now = Instant::now();
        let mut aside = Aside::new(now);
        aside.begin(10, now);
        aside.refused(&event(7, "a"), now);
        aside.end(now);
        aside.begin(1, now + FIRST_PAUSE);
        aside.found(&[event(3, "b")], 1);
        aside.end(now + FIRST_PAUSE);
        assert!(!aside.is_empty());
    }
}
