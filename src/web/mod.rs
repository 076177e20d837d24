//! HTTP: the admin listener with health, metrics and the [`api`], the callback listener for what ihuyi pushes,
//! and what any listener of ours needs: `connection` limits a client in time and size, `problem` writes errors.
//! `client` asks other listeners.

mod admin;
pub mod api;
mod callbacks;
pub mod client;
mod connection;
pub mod problem;
pub mod status;

pub use admin::serve;
pub use api::Api;
pub use callbacks::{Callbacks, serve_callbacks};
pub use status::Status;

#[cfg(test)]
mod tests;
