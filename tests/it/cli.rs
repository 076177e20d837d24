//! The command line as users meet it: the built program, its output and its exit codes.

mod acts;
mod check;
mod forget;
mod queries;
mod send;
mod story;
mod top;
mod usage;
