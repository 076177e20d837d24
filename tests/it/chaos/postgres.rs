//! Postgres fails under a running daemon.
