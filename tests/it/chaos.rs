//! The world breaks under a working daemon: a module for each way in which it does.

mod accounts;
mod clock;
mod copies;
mod crash;
mod gateway;
mod postgres;
mod pressure;
mod rabbitmq;
mod storm;

// What they share.
mod books;
mod disk;
mod node;
