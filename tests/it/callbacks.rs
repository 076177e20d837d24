//! What ihuyi pushes afterwards: receipts and replies on the callback listener.

mod door;
mod doubts;
mod receipts;
mod replies;
mod world;
