//! Postgres: the only place that names sqlx. A function for each statement; a statement for each
//! batch. Queries are checked against the migrations by the integration tests.

mod admit;
mod connect;
mod error;
mod events;
mod lease;
pub mod operate;
mod parked;
mod policy;
mod pool;
mod probe;
pub mod query;
mod receipts;
mod record;
mod release;
mod replaying;
mod replies;
mod retrying;
mod rows;
mod slots;
mod suppressions;
mod templates;
mod upkeep;

pub use connect::{MigrationError, Store};
pub use lease::ShardLease;
pub use probe::{ProbeError, probe};
pub use templates::TemplateInfo;
