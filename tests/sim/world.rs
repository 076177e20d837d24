//! The world that the dispatcher lives in: one clock, one chance, and three services behind it.
//!
//! Everything runs on one thread on tokio's paused time, so a seed gives the same story each time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dispatcher::domain::job::Timestamp;
use tokio::time::Instant;

use crate::broker::{Audit, Broker};
use crate::ihuyi::Ihuyi;
use crate::lease::Shelf;
use crate::plan::Weather;
use crate::post::Post;
use crate::postgres::Tables;
use crate::process::Process;

/// The world of one seed.
pub struct World {
    began: Instant,
    epoch: Timestamp,
    rng: Mutex<fastrand::Rng>,
    weather: Mutex<Weather>,
    tables: Mutex<Tables>,
    shelf: Mutex<Shelf>,
    violations: Mutex<Vec<String>>,
    points: AtomicU64,
    ended: Mutex<BTreeSet<u32>>,
    kill_at: Mutex<Vec<u64>>,
    /// How far the dispatchers' clock is off, in seconds.
    step: AtomicI64,
    noisy: bool,
    pub broker: Broker,
    pub audit: Audit,
    pub ihuyi: Ihuyi,
    pub post: Post,
}

/// When the story begins: not near midnight in Shanghai, and a quarter of a minute before the hour, at
/// which quiet hours may begin.
pub fn epoch() -> Timestamp {
    "2026-11-23T01:59:45Z".parse().unwrap()
}

impl World {
    /// A world in which nothing has happened. `noisy`: it says what happens.
    pub fn new(rng: fastrand::Rng, prefetch: usize, tables: Tables, post: Post, noisy: bool) -> Arc<World> {
        Arc::new(World {
            began: Instant::now(),
            epoch: epoch(),
            rng: Mutex::new(rng),
            weather: Mutex::new(Weather::fair()),
            tables: Mutex::new(tables),
            shelf: Mutex::new(Shelf::default()),
            violations: Mutex::new(Vec::new()),
            points: AtomicU64::new(0),
            ended: Mutex::default(),
            kill_at: Mutex::new(Vec::new()),
            step: AtomicI64::new(0),
            noisy,
            broker: Broker::new(prefetch),
            audit: Audit::default(),
            ihuyi: Ihuyi::default(),
            post,
        })
    }

    /// Since the world began.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// The wall clock of everybody else.
    pub fn now(&self) -> Timestamp {
        self.epoch + self.age()
    }

    /// The wall clock of the dispatchers' machine, which somebody may set.
    pub fn shown(&self) -> Timestamp {
        self.now() + chrono::Duration::seconds(self.step.load(Ordering::SeqCst))
    }

    /// The dispatchers' clock is set, by so many seconds.
    pub fn set_clock(&self, by: i64) {
        self.step.fetch_add(by, Ordering::SeqCst);
    }

    /// Chance.
    pub fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap()
    }

    /// True with that probability.
    pub fn chance(&self, probability: f64) -> bool {
        // No draw where there is no choice.
        probability > 0.0 && self.rng().f64() < probability
    }

    /// A time up to `longest`, often short.
    pub fn delay(&self, longest: Duration) -> Duration {
        let share = self.rng().f64();
        Duration::from_millis(longest.mul_f64(share * share).as_millis() as u64)
    }

    /// What goes wrong at present.
    pub fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    /// What Postgres holds.
    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// Who holds the lease.
    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap()
    }

    /// A promise was broken.
    pub fn violation(&self, what: String) {
        self.note(|| format!("VIOLATION {what}"));
        let at = self.age().as_secs_f64();
        self.violations.lock().unwrap().push(format!("[{at:.3}] {what}"));
    }

    /// What was broken so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// Tells the story of a seed that is replayed.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.noisy {
            println!("{:>9.3} {}", self.age().as_secs_f64(), what());
        }
    }

    /// Processes die at these steps over a port, counted over all of them.
    pub fn kill_at(&self, points: Vec<u64>) {
        *self.kill_at.lock().unwrap() = points;
    }

    /// Processes that have ended, one way or the other.
    pub fn ended(&self) -> BTreeSet<u32> {
        self.ended.lock().unwrap().clone()
    }

    /// Ends a process. False if it had ended.
    pub fn end(&self, process: &Process) -> bool {
        self.ended.lock().unwrap().insert(process.index());
        self.post.close(process.index());
        process.die()
    }

    /// `process` takes a step over a port: here it may die.
    pub fn step(self: &Arc<Self>, process: &Arc<Process>) {
        let point = self.points.fetch_add(1, Ordering::Relaxed);
        if !process.is_dead() && self.kill_at.lock().unwrap().contains(&point) {
            self.note(|| format!("step {point} of all"));
            self.kill(process);
        }
    }

    /// kill -9, or a power cut: the process does nothing more. The services see it sooner or later.
    pub fn kill(self: &Arc<Self>, process: &Arc<Process>) {
        if !self.end(process) {
            return;
        }
        self.note(|| format!("process {} is killed", process.index()));
        let longest = Duration::from_secs(if self.chance(0.2) { 12 } else { 1 });
        let (broker, lease) = (self.delay(longest), self.delay(longest));
        let (world, process) = (self.clone(), process.clone());
        tokio::spawn(async move {
            tokio::join!(
                async {
                    tokio::time::sleep(broker).await;
                    world.broker.close_all(&world, Some(&process), "its connection is gone");
                },
                async {
                    tokio::time::sleep(lease).await;
                    world.shelf().give_back_all(process.index());
                },
            );
        });
    }
}
