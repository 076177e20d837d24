//! Single values: from text to meaning. An error says what is wrong and how to write it right; for a
//! value that may hold a password it never quotes it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::domain::message::MAX_TEMPLATE_ID;

/// ihuyi's published address, over TLS.
const SUBMIT_URL: &str = "https://106.ihuyi.com/webservice/sms.php?method=Submit";

/// What a request adds itself. The server merges query and body, so a second one would win or lose by
/// chance; a password has no place in a URL anyway.
const ADDED: [&str; 7] = ["account", "password", "mobile", "content", "time", "format", "templateid"];

pub(super) fn amqp_url(text: &str) -> Result<(), String> {
    let cure = "write amqp://USER:PASSWORD@HOST:5672/VHOST, special characters as %XX (the vhost / is %2f)";
    let url = url(text, &["amqp", "amqps"], cure)?;
    url.has_host().then_some(()).ok_or_else(|| format!("names no host: {cure}"))
}

/// The host may be missing: `postgres:///sms?host=/run/postgresql` is a socket.
pub(super) fn postgres_url(text: &str) -> Result<(), String> {
    let cure = "write postgres://USER:PASSWORD@HOST:5432/DATABASE, special characters as %XX";
    url(text, &["postgres", "postgresql"], cure).map(drop)
}

pub(super) fn submit_url(text: &str) -> Result<Url, String> {
    gateway_url(text, "Submit")
}

pub(super) fn balance_url(text: &str) -> Result<Url, String> {
    gateway_url(text, "GetNum")
}

/// ihuyi's own.
pub(super) fn submit_url_default() -> Url {
    Url::parse(SUBMIT_URL).expect("the constant is a URL")
}

fn gateway_url(text: &str, method: &str) -> Result<Url, String> {
    let url = url(text, &["http", "https"], &format!("write https://HOST/webservice/sms.php?method={method}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password: remove them, the key stands under [accounts.NAME]".into());
    }
    if url.fragment().is_some() {
        return Err("holds a `#…`, which is never sent: remove it".into());
    }
    for (name, value) in url.query_pairs() {
        if ADDED.contains(&name.as_ref()) {
            return Err(format!("holds the parameter `{name}`, which each request adds itself: remove it"));
        }
        if name == "method" && value != method {
            return Err(format!("asks for another method: write method={method}"));
        }
    }
    Ok(url)
}

fn url(text: &str, schemes: &[&str], cure: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL ({error}): {cure}"))?;
    if schemes.contains(&url.scheme()) {
        return Ok(url);
    }
    Err(format!("does not begin with {}://: {cure}", schemes.join(":// or ")))
}

pub(super) fn prefix(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` cannot begin a queue's name: use 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`")),
    }
}

pub(super) fn shards(text: &str) -> Result<u16, String> {
    match text.parse::<u64>() {
        Ok(1) => Ok(1),
        Ok(2..) => Err("more than one shard is not supported by this version yet; set 1".into()),
        _ => Err(format!("`{text}` is no number of shards: write 1")),
    }
}

pub(super) fn api_id(text: &str) -> Result<String, String> {
    match text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("is no APIID: copy it from ihuyi's console, C and digits or cf_ and a name".into()),
    }
}

pub(super) fn template_id(text: &str) -> Result<String, String> {
    match text.len() <= MAX_TEMPLATE_ID && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("is no template's number: copy it from ihuyi's console".into()),
    }
}

/// A code in one spelling only, so that no two keys mean the same.
pub(super) fn code(text: &str) -> Result<i64, String> {
    let code = text.parse::<i64>().ok().filter(|code| code.to_string() == text);
    code.ok_or_else(|| "is no code: the keys of [codes] are whole numbers such as \"4082\"".into())
}

/// A bare word that is no level would be taken for a module's name and silence everything else.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let cure = "write off, error, warn, info, debug or trace, or directives such as `info,dispatcher=debug`";
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
    if text.split(',').any(|directive| !directive.contains(['=', '[']) && !is_level(directive)) {
        return Err(format!("`{text}` is no level: {cure}"));
    }
    EnvFilter::try_new(text).map_err(|error| format!("`{text}` is no level ({error}): {cure}"))?;
    Ok(text.to_owned())
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let cure = "write an IP address and a port, such as 127.0.0.1:9464, 0.0.0.0:9464 or [::1]:9464";
    text.parse().map_err(|_| format!("`{text}` is no address to listen on: {cure}"))
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let cure = "write one such as 203.0.113.0/24, or a single address";
    network.map(|network| network.trunc()).ok_or_else(|| format!("`{text}` is no network: {cure}"))
}

pub(super) fn token(text: &str) -> Result<(), String> {
    match text.len() {
        0..4 => {
            Err("is too short to be safe: use 4 characters or more, better 32, best from `openssl rand -hex 24`".into())
        }
        _ => Ok(()),
    }
}

pub(super) fn callback_secret(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (4..=128).contains(&text.len()) && text.chars().all(plain) {
        true => Ok(()),
        false => {
            Err("is no secret for a URL: use 4 to 128 of A-Z, a-z, 0-9, _ and -, best from `openssl rand -hex 24`"
                .into())
        }
    }
}

pub(super) fn opt_out_word(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=20 => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no opt-out word: write one of 1 to 20 characters")),
    }
}
