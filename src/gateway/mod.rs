//! ihuyi (互亿无线): how a job is submitted and what came back. The only place that names reqwest.
//!
//! [`Client::submit`] goes `request` (parameters and signature) → `client` (HTTP) → `reply`
//! (parsing). What a reply means for the job is decided in [`crate::domain::verdict`].
//!
//! Nothing here is ever tried twice: the API has no idempotency key, so a hidden second request
//! can be a second SMS. Whether a failed request may be repeated at all is what `latch` finds
//! out. No error holds a URL, a key, a text or a number: with GET the URL carries all four.

mod client;
mod latch;
mod options;
mod port;
mod reply;
mod request;
mod xml;

pub use client::Client;
pub use options::{Auth, ClientError, ClientOptions, Credentials, Format, Method};
pub use port::Accounts;
pub use reply::{Added, Balance};
