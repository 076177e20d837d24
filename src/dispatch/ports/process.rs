//! Time, chance, and the right to serve.

use super::{Boxed, LedgerError};
use crate::domain::job::Timestamp;

/// What a simulation must be able to repeat: the wall clock, and chance. Waiting goes by tokio's
/// clock, which a simulation can pause.
pub trait Chance: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// A random number.
    fn number(&self) -> i64;
}

/// The real ones.
pub struct System;

impl Chance for System {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }

    fn number(&self) -> i64 {
        fastrand::i64(..)
    }
}

/// The right to serve a shard: one process at a time has it.
pub trait Lease: Send + Sync + 'static {
    /// Tries once. `None`: another process serves the shard.
    fn acquire(&self) -> Boxed<'_, Result<Option<Box<dyn Held>>, LedgerError>>;
}

/// The right, as long as this lives.
pub trait Held: Send + 'static {
    /// Waits until it is lost, and says why. May be cancelled.
    fn lost(&mut self) -> Boxed<'_, String>;
    /// Gives it back.
    fn release(self: Box<Self>) -> Boxed<'static, ()>;
}
