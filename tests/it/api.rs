//! The admin API over HTTP, on the real services.

mod access;
mod acts;
mod client;
mod lists;
mod publish;
mod replays;
mod retries;
