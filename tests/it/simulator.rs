//! The ihuyi simulator against the wire facts, over raw TCP so that every byte is seen.

mod admin;
mod faults;
mod http;
mod lifecycle;
mod passwords;
mod property;
mod pushes;
mod replies;
mod rules;
mod wire;
