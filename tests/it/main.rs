//! Integration tests: one binary, one module a subject. They need a real RabbitMQ and a real
//! Postgres; `make test` starts private ones and sets `AMQP_URL` and `DATABASE_URL`.

mod cli;
mod conformance;
mod gateway;
mod simulator;

#[path = "../conformance/mod.rs"]
mod suite;
mod support;
