//! How a gateway of ihuyi's kind is spoken to: words that the configuration and the client share.

use url::Url;

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

/// The address of another method beside that of submissions: `?method=NAME`, or `/NAME.json`. `None`
/// where `submit` has neither form.
pub fn beside(submit: &Url, method: &str) -> Option<Url> {
    let mut other = submit.clone();
    if let Some(start) = submit.path().strip_suffix("/Submit.json") {
        other.set_path(&format!("{start}/{method}.json"));
        return Some(other);
    }
    submit.query_pairs().find(|(name, _)| name == "method")?;
    let others: Vec<_> = submit.query_pairs().filter(|(name, _)| name != "method").collect();
    other.query_pairs_mut().clear().append_pair("method", method).extend_pairs(others);
    Some(other)
}
