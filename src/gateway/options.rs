//! What the client has to be told: where, how, and as whom.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::request;

pub use crate::domain::wire::{Auth, Format, Method};

/// One account's identity at ihuyi.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// APIID, `C########` or `cf_…`.
    pub api_id: String,
    /// APIKEY.
    pub api_key: SecretString,
    /// How the key is used.
    pub auth: Auth,
}

impl Credentials {
    /// The MD5 of the key in the place of the key, as older clients send it; static.
    pub fn hashed(&self) -> Credentials {
        let api_key = request::hashed(self.api_key.expose_secret()).into();
        Credentials { api_id: self.api_id.clone(), api_key, auth: Auth::Static }
    }
}

/// Where the gateway is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// `http` or `https`, with its `?method=Submit`.
    pub submit_url: String,
    /// `http` or `https`, with its `?method=GetNum`.
    pub balance_url: String,
    /// GET or POST.
    pub method: Method,
    /// The format to ask for.
    pub format: Format,
    /// For one request in all, from the wait for a connection to the last byte of the reply.
    pub timeout: Duration,
    /// For DNS, TCP and TLS; shorter than `timeout`.
    pub connect_timeout: Duration,
    /// Idle connections to keep for each host: as many as requests are in flight at most.
    pub max_idle: usize,
}

/// Why no client could be made from the options.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A URL cannot be used.
    #[error("{key}: {problem}: write it like https://106.ihuyi.com/webservice/sms.php?method={method}")]
    Url {
        /// `gateway.submit_url` or `gateway.balance_url`.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// The value of `method` in the example.
        method: &'static str,
    },
    /// The HTTP client could not be set up; in practice: no CA certificates.
    #[error("the HTTPS client cannot be set up ({0}): install the package ca-certificates")]
    Setup(String),
}
