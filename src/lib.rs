//! dispatcher
pub mod config;
pub mod domain;
