//! Where the daemon's admin listener is, for the commands that ask it.

use std::net::Ipv4Addr;

use url::Url;

use crate::config::Config;

/// The value of `--url`.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}: write http://HOST:9464"))?;
    match (url.scheme(), url.host_str()) {
        ("http", Some(_)) => Ok(url),
        _ => Err("write http://HOST:9464: the admin listener speaks plain HTTP".into()),
    }
}

/// Where `config` lets it listen, as seen from this machine.
///
/// # Errors
/// Never: an address makes a URL.
pub(super) fn url_of(config: &Config) -> anyhow::Result<Url> {
    let mut listen = config.admin.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Ok(format!("http://{listen}").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_is_a_url() {
        assert!(parse_url("http://127.0.0.1:9464").is_ok() && parse_url("http://[::1]:9464").is_ok());
        assert!(parse_url("https://x").is_err() && parse_url("9464").is_err());
    }
}
