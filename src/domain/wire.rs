//! How a gateway of ihuyi's kind is spoken to: words that the configuration and the client share.

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
