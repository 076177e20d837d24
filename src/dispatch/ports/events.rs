//! The outbox of events, and who publishes them.

use super::{Boxed, LedgerError, PublishError};
use crate::domain::event::Event;

/// What is committed and not yet published to the exchange of events.
pub trait Outbox: Send + Sync + 'static {
    /// Deletes the rows `done`, and reads the oldest of the others but `aside`, at most `limit`, in order:
    /// one statement. A row that a transaction under way will commit may come later than younger ones;
    /// one job's never do.
    fn turn<'a>(&'a self, done: &'a [i64], aside: &'a [i64], limit: u32) -> Boxed<'a, Result<Vec<Event>, LedgerError>>;
}

/// Publishes events to RabbitMQ.
pub trait Announcer: Send + Sync + 'static {
    /// Publishes in order; for each, whether the broker has it for everybody who listens. After an error
    /// any of them may have arrived. May be cancelled: then the same holds.
    fn announce<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<Vec<bool>, PublishError>>;
    /// Why the broker takes no messages at present, although it is connected.
    fn trouble(&self) -> Option<String> {
        None
    }
}
