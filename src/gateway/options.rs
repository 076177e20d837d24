//! What the client has to be told: where, how, and as whom.

use std::time::Duration;

use secrecy::SecretString;

/// How parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Method {
    /// In the query, so also in the logs of every proxy on the way.
    Get,
    /// In a form body; the default.
    #[default]
    Post,
}

/// In which format the gateway is asked to answer. Whatever it then sends is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `<SubmitResult>…`
    Xml,
    /// `{"code":2,…}`; the default.
    #[default]
    Json,
}

/// What is sent as `password`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Auth {
    /// A digest over the request and its `time`; the default. The key never travels.
    #[default]
    Dynamic,
    /// The APIKEY itself.
    Static,
}

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
