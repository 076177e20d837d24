//! `dispatcher.toml`: it loads, it shows every key, and what it shows are the defaults.

use std::collections::BTreeSet;

use super::super::Needs;
use super::{file, load_text};
use crate::domain::job::Priority;

const SAMPLE: &str = include_str!("../../../dispatcher.toml");
const KEY: (&str, &str) = ("DISPATCHER__ACCOUNTS__MAIN__API_KEY", "from-the-environment");

/// The full path of each key that the sample shows, commented out or not.
fn shown() -> BTreeSet<String> {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in SAMPLE.lines().map(|line| line.strip_prefix('#').unwrap_or(line)) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
            keys.insert(format!("{table}{key}"));
        }
    }
    keys
}

/// The sample with its examples switched on where `chosen` says so of their key.
fn uncommented(chosen: impl Fn(&str) -> bool) -> String {
    let is_example = |line: &str| {
        let rest = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        rest.is_some_and(|rest| rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| chosen(key)))
    };
    SAMPLE
        .lines()
        .map(|line| if is_example(line) { &line[1..] } else { line })
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn it_loads_and_its_values_are_the_defaults() {
    let sample = load_text(SAMPLE, &[KEY], Needs::Secrets).unwrap();
    let least = load_text(
        "rabbitmq.url = \"amqp://h/v\"\npostgres.url = \"postgres://h/db\"\naccounts.main.api_id = \"C00000000\"",
        &[KEY],
        Needs::Secrets,
    );
    assert_eq!(format!("{sample:#?}"), format!("{:#?}", least.unwrap()));
}

#[test]
fn it_asks_for_nothing_but_the_key() {
    let found = load_text(SAMPLE, &[], Needs::Secrets).unwrap_err();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("or set DISPATCHER__ACCOUNTS__MAIN__API_KEY"), "{found:?}");
    load_text(SAMPLE, &[], Needs::NoSecrets).unwrap();
}

#[test]
fn its_examples_are_valid() {
    let text = uncommented(|key| !key.ends_with("_file"));
    let second = [("DISPATCHER__ACCOUNTS__SECOND__API_ID", "C2"), ("DISPATCHER__ACCOUNTS__SECOND__API_KEY", "k")];
    let config = load_text(&text, &second, Needs::Secrets).unwrap();
    assert_eq!(config.account("main").unwrap().fallback.as_deref(), Some("second"));
    assert_eq!(config.default_account_name(), Some("main"));
    assert!(config.callbacks.secret.is_some() && config.admin.tokens["alice"].token.is_some());
    assert_eq!(config.limits.quiet.of(Priority::Bulk).unwrap().to_string(), "21:00-08:00");
}

#[test]
fn its_secrets_can_be_files() {
    let secret = file("0123456789abcdef01234567\n");
    let (amqp, postgres) = (file("amqp://h/v"), file("postgres://h/db"));
    let text: String = uncommented(|key| key.ends_with("_file") || ["role", "id", "text"].contains(&key))
        .lines()
        .filter(|line| !line.starts_with("url = "))
        .map(|line| match line.split_once("_file = ") {
            Some((key, example)) if !line.starts_with('#') => {
                let kind =
                    [("rabbitmq", &amqp), ("postgres", &postgres)].into_iter().find(|(word, _)| example.contains(word));
                format!("{key}_file = \"{}\"\n", kind.map_or(&secret, |(_, file)| file).path().display())
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let config = load_text(&text, &[], Needs::Secrets).unwrap();
    assert!(config.callbacks.secret.is_some() && config.admin.tokens["alice"].token.is_some());
}

/// The reader itself says which keys a table has, when it refuses one that is nothing like them.
#[test]
fn it_shows_every_key_and_an_unknown_one_is_refused_in_every_table() {
    let tables = "rabbitmq postgres gateway accounts.main limits limits.quiet_hours retry templates.order_shipped checks in_doubt events retention log admin admin.tokens.alice callbacks";
    let mut known = BTreeSet::new();
    for table in tables.split(' ').chain([""]) {
        let prefix = if table.is_empty() { String::new() } else { format!("{table}.") };
        let variable = format!("DISPATCHER__{}QQQQQQQQQQ", prefix.to_uppercase().replace('.', "__"));
        let found = load_text(SAMPLE, &[(&variable, "1")], Needs::NoSecrets).unwrap_err();
        let start = format!("{variable}: {prefix}qqqqqqqqqq: is no key ");
        let line = found.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{table}: {found:?}"));
        let keys = line.split_once("use one of ").unwrap().1;
        known.extend(keys.split(", ").map(|key| format!("{prefix}{key}")));
    }
    let shown = shown();
    let is_table = |key: &str| {
        ["codes", "accounts", "templates", "admin.tokens"].contains(&key) || tables.split(' ').any(|table| table == key)
    };
    let missing: Vec<_> = known.iter().filter(|key| !is_table(key) && !shown.contains(*key)).collect();
    let unknown: Vec<_> = shown.iter().filter(|key| !key.starts_with("codes.") && !known.contains(*key)).collect();
    assert_eq!((missing, unknown), (vec![], vec![]));
    assert!(known.len() > 40 && shown.len() > 40, "{known:?} {shown:?}");
}
