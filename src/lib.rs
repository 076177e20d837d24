//! dispatcher
pub mod domain;
