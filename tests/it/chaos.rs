//! The world breaks under a working daemon: a module for each way in which it does.

mod accounts;
mod books;
mod copies;
mod crash;
mod gateway;
mod postgres;
mod pressure;
mod rabbitmq;
mod storm;
