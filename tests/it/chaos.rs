//! The world breaks under a working daemon: a module for each way in which it does.

mod accounts;
mod books;
mod gateway;
mod pressure;
