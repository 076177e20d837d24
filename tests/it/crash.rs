//! What the built binary leaves when it dies, drains, or cannot reach its services.

mod connections;
mod killed;
mod process;
