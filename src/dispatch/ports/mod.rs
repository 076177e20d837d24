//! What the dispatcher asks of the outside: small traits, so that its code runs unchanged on real
//! services and on in-memory ones.

mod broker;
mod events;
mod feedback;
mod gateway;
mod ledger;
mod process;
mod upkeep;

use std::future::Future;
use std::pin::Pin;

pub use broker::*;
pub use events::*;
pub use feedback::*;
pub use gateway::*;
pub use ledger::*;
pub use process::*;
pub use upkeep::*;

/// A future as a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the ledger could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached or cannot write now: try again.
    #[error("Postgres is unavailable: {0}")]
    Unavailable(String),
    /// It refuses these rows: trying again does not help.
    #[error("Postgres refuses the row: {0}")]
    Refused(String),
}
