//! HTTP: the admin listener with health, metrics and the [`api`], and what any listener of ours needs:
//! `connection` limits a client in time and size, `problem` writes errors.

mod admin;
pub mod api;
mod connection;
pub mod problem;
pub mod status;

pub use admin::serve;
pub use api::Api;
pub use status::Status;

#[cfg(test)]
mod tests;
