//! The spine.
pub mod ports;
