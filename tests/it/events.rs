//! Events: what publishers are told of their jobs.

mod listener;

mod facts;
mod trouble;
