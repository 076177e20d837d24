//! The core: pure. No I/O, no clock, no randomness: time and jitter are arguments. Read this first.

pub mod balance;
pub mod codes;
pub mod decide;
pub mod event;
pub mod fields;
pub mod job;
pub mod json;
pub mod limits;
pub mod message;
pub mod mobile;
pub mod pace;
pub mod posted;
pub mod price;
pub mod privacy;
pub mod quiet;
pub mod rate;
pub mod receipt;
pub mod replay;
pub mod retry;
pub mod review;
pub mod template;
pub mod text;
pub mod trace;
pub mod uplink;
pub mod verdict;
pub mod wire;
