//! The spine: from a message to its outcome. [`deliver`] is the path of one job; the rest serves it.
//!
//! Everything outside is behind the small traits of [`ports`].

mod admit;
mod attempt;
pub mod batch;
mod deliver;
mod desk;
mod duties;
pub mod health;
pub mod inbox;
mod intake;
mod lift;
pub mod metrics;
pub mod pacer;
pub mod ports;
mod probes;
mod recent;
pub mod reconnect;
pub mod settings;
mod shard;
pub mod trace;
mod turn;

pub use attempt::CLAIM_MARGIN;
pub use desk::{Desk, Ports};
pub use shard::Shard;
