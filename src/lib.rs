//! dispatcher
pub mod domain;
pub mod gateway;
pub mod tls;
