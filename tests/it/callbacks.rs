//! What ihuyi pushes afterwards: receipts and replies on the callback listener.

mod commands;
mod door;
mod doubts;
mod flood;
mod receipts;
mod replies;
pub mod world;
