//! Integration tests: one binary, one module a subject. They need a real RabbitMQ and a real
//! Postgres; `make test` starts private ones and sets `AMQP_URL` and `DATABASE_URL`.

// The daemon on its services, through its public names.
mod api;
mod callbacks;
mod chaos;
mod codes;
mod events;
mod health;
mod intake;
mod pacing;
mod policy;
mod process;
mod reload;
mod retention;
mod statements;
mod templates;
mod waiting;
mod wire;

// Parts by themselves.
mod cli;
mod conformance;
mod documents;
mod gateway;
mod monitoring;
mod readme;
mod simulator;
mod systemd;

// What tests share.
#[path = "../storm/mod.rs"]
mod storm;
#[path = "../conformance/mod.rs"]
mod suite;
mod support;
