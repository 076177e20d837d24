//! One incarnation of the daemon, and how it is cut off.
//!
//! The dispatcher touches the outside only through its ports. A killed process is cut off there: a
//! call that is under way never returns, a new one never begins, an acknowledgement goes nowhere.
//! From outside this is the same as the end of all its tasks at that instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use dispatcher::dispatch::ports::Chance;
use dispatcher::domain::job::Timestamp;
use tokio::sync::Notify;

use crate::world::World;

/// Tells a process from the one before.
pub struct Process {
    index: u32,
    dead: AtomicBool,
    died: Notify,
    waits: AtomicU32,
}

/// A process waits for the answer to a slow statement, as long as this lives.
pub struct Waiting<'a>(&'a Process);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Process {
    /// A living one.
    pub fn new(index: u32) -> Arc<Process> {
        Arc::new(Process { index, dead: AtomicBool::new(false), died: Notify::new(), waits: AtomicU32::new(0) })
    }

    /// Its number, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// It begins to wait for a slow answer.
    pub fn wait(&self) -> Waiting<'_> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// An answer is still on its way to it.
    pub fn is_waiting(&self) -> bool {
        self.waits.load(Ordering::SeqCst) > 0
    }

    /// It does nothing any more.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Ends it. False if it had ended.
    pub fn die(&self) -> bool {
        let first = !self.dead.swap(true, Ordering::SeqCst);
        self.died.notify_one();
        first
    }

    /// Waits for its end. One waiter only.
    pub async fn died(&self) {
        self.died.notified().await;
    }
}

/// How one process reaches the world.
#[derive(Clone)]
pub struct Link {
    pub world: Arc<World>,
    pub process: Arc<Process>,
}

impl Link {
    /// A step over a port: the process may end here, and what is dead never comes back from it.
    pub async fn step(&self) {
        self.world.step(&self.process);
        self.alive().await;
    }

    /// Never returns in a dead process.
    pub async fn alive(&self) {
        if self.process.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Time passes on the wire.
    pub async fn travel(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }
}

/// The clock of the world, and chance of the process' own.
pub struct Dice {
    pub world: Arc<World>,
    pub rng: std::sync::Mutex<fastrand::Rng>,
}

impl Chance for Dice {
    fn now(&self) -> Timestamp {
        self.world.shown()
    }

    fn number(&self) -> i64 {
        self.rng.lock().unwrap().i64(..)
    }
}
