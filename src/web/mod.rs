//! HTTP: the admin listener with health and metrics, and what any listener of ours needs: `connection`
//! limits a client in time and size, `problem` writes errors. `client` asks other listeners.

mod admin;
pub mod client;
mod connection;
pub mod problem;
pub mod status;

pub use admin::serve;
pub use status::Status;

#[cfg(test)]
mod tests;
