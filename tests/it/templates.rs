//! Templates that are known here, and what is refused before a request is spent.

mod commands;
mod jobs;
mod reviews;
