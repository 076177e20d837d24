//! What must fit together across tables: names that refer to accounts, tokens that must differ,
//! listeners that must not collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use secrecy::ExposeSecret;

use super::read::Reader;
use super::source::variable_of;
use super::{Account, Config, Needs, Token};

/// Every `fallback` names another account, and no chain of them comes back to its start.
pub(super) fn accounts(reader: &Reader, accounts: &BTreeMap<String, Account>) {
    for (name, account) in accounts {
        let Some(fallback) = &account.fallback else { continue };
        let path = format!("accounts.{name}.fallback");
        if fallback == name {
            reader.problem(&path, "names its own account: name another one, or remove it");
        } else if !accounts.contains_key(fallback) {
            reader.problem(&path, not_configured(fallback, accounts));
        } else if let Some(circle) = circle(name, accounts).filter(|circle| circle.iter().min() == Some(&name.as_str()))
        {
            reader.problem(&path, format!("goes in a circle ({}): remove one of these fallbacks", circle.join(" → ")));
        }
    }
}

/// The chain of fallbacks from `start` back to it, if it is a circle.
fn circle<'a>(start: &'a str, accounts: &'a BTreeMap<String, Account>) -> Option<Vec<&'a str>> {
    let mut chain = vec![start];
    let mut seen = BTreeSet::from([start]);
    loop {
        let next = accounts.get(*chain.last()?)?.fallback.as_deref()?;
        chain.push(next);
        if !seen.insert(next) {
            return (next == start && chain.len() > 2).then_some(chain);
        }
    }
}

/// The account of jobs that name none: the one written, or the only one.
pub(super) fn default_account(reader: &Reader, config: &Config) -> Option<String> {
    let (path, accounts) = ("default_account", &config.accounts);
    match (&config.default_account, accounts.len()) {
        (_, 0) if reader.needs == Needs::NoSecrets => return None,
        _ if !(reader.is_sound(path) && reader.is_sound("accounts")) => return None,
        (_, 0) => {
            let variable = variable_of("accounts.main.api_id");
            reader.problem("accounts", format!("has no account: write [accounts.main] with api_id, or set {variable}"));
        }
        (Some(name), _) if !accounts.contains_key(name) => reader.problem(path, not_configured(name, accounts)),
        (Some(name), _) => return Some(name.clone()),
        (None, 1) => return accounts.keys().next().cloned(),
        (None, _) => {
            let known = known(accounts);
            reader.problem(path, format!("is missing, and there is more than one account: name one of {known}"));
        }
    }
    None
}

/// No two names have the same token: it could not be told who acts, or with which role.
pub(super) fn tokens(reader: &Reader, tokens: &BTreeMap<String, Token>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, token) in tokens {
        let Some(secret) = &token.token else { continue };
        if let Some(other) = seen.insert(secret.expose_secret(), name) {
            let text = format!("has the same token as admin.tokens.{other}: give each its own");
            reader.problem(&format!("admin.tokens.{name}"), text);
        }
    }
}

/// A job names a template by name or by id, so each of these means one template.
pub(super) fn templates(reader: &Reader, config: &Config) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, template) in config.templates.iter() {
        let path = format!("templates.{name}.id");
        if let Some(other) = seen.insert(&template.id, name).filter(|_| reader.is_sound(&path)) {
            reader.problem(&path, format!("is also that of templates.{other}: remove one of them"));
        }
        let named = config.templates.iter().find(|(other, _)| *other == template.id && *other != name);
        if let Some((other, _)) = named {
            reader.problem(&path, format!("is the name of templates.{other}: give that one another name"));
        }
    }
    if config.checks.template && config.templates.iter().next().is_none() && reader.is_sound("templates") {
        reader.problem("checks.template", "is on, and no template is configured: write [templates.NAME], or false");
    }
}

/// What was sent to a number is counted in the rows of its jobs, so these are kept for the longest window.
pub(super) fn memory(reader: &Reader, config: &Config) {
    let window = config.limits.windows.memory();
    let (kept, path) = (config.retention.jobs, "retention.jobs");
    if kept < window && reader.is_sound(path) && reader.is_sound("limits.mobile") {
        let hours = window.as_secs() / 3_600;
        reader.problem(path, format!("is shorter than the {hours} h that limits.mobile looks back: raise it to that"));
    }
}

/// The private and the public listener do not share a port.
pub(super) fn listeners(reader: &Reader, config: &Config) {
    let (admin, callbacks) = (config.admin.listen, config.callbacks.listen);
    if config.callbacks.secret.is_some() && collide(admin, callbacks) {
        reader.problem("callbacks.listen", format!("`{callbacks}` is taken by admin.listen: give it another port"));
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_host
}

fn not_configured(name: &str, accounts: &BTreeMap<String, Account>) -> String {
    format!("`{name}` is no configured account: name one of {}, or write [accounts.{name}]", known(accounts))
}

fn known(accounts: &BTreeMap<String, Account>) -> String {
    accounts.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
