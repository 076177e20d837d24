//! dispatcher

pub mod app;
pub mod broker;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod gateway;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod web;
