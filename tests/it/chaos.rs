//! The world breaks: one module for each way.

mod books;
mod copies;
mod crash;
mod postgres;
mod rabbitmq;
