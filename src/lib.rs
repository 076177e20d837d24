//! x

pub mod cli;
pub mod simulator;
