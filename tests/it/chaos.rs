//! The world breaks: one module for each way.

mod copies;
mod crash;
mod postgres;
mod rabbitmq;

// What they share.
mod books;
mod node;
