//! Table by table: from keys to the structs of the configuration. The defaults stand here, and once
//! more, commented, in `dispatcher.toml`; a test compares the two.

use std::collections::BTreeMap;
use std::time::Duration;

use super::parse;
use super::read::{Table, one_of};
use super::secret::Presence;
use super::{
    Account, Admin, Auth, Callbacks, Checks, Config, Events, Format, Gateway, InDoubt, Limits, Log, LogFormat, Method,
    Postgres, Rabbitmq, Retention, Retry, Role, Telemetry, Token, Written, cross,
};
use crate::domain::codes::{Class, CodeTable};
use crate::domain::job::{OnUnknown, Priority};
use crate::domain::limits::NumberLimits;
use crate::domain::price::SIGNATURE;
use crate::domain::quiet::{Quiet, QuietHours};
use crate::domain::rate::Rate;
use crate::domain::template::{Template, Templates, VARIABLE_MAX};
use crate::domain::wire::beside;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The whole tree.
pub(super) fn config(root: &mut Table) -> Config {
    let mut config = Config {
        rabbitmq: root.table("rabbitmq", rabbitmq),
        postgres: root.table("postgres", postgres),
        gateway: root.table("gateway", gateway),
        default_account: root.optional("default_account", |name| Ok(name.to_owned())),
        accounts: root.tables("accounts", account),
        limits: root.table("limits", limits),
        retry: root.table("retry", retry),
        codes: root.table("codes", codes),
        templates: Templates::new(root.tables("templates", template)),
        checks: root.table("checks", checks),
        in_doubt: root.table("in_doubt", in_doubt),
        events: root.table("events", events),
        retention: root.table("retention", retention),
        log: root.table("log", log),
        telemetry: root.table("telemetry", telemetry),
        drain_timeout: root.duration("drain_timeout", 15 * SECOND, Duration::ZERO..=HOUR),
        admin: root.table("admin", admin),
        callbacks: root.table("callbacks", callbacks),
        written: Written::default(),
    };
    cross::accounts(root.reader, &config.accounts);
    cross::tokens(root.reader, &config.admin.tokens);
    cross::listeners(root.reader, &config);
    cross::memory(root.reader, &config);
    cross::templates(root.reader, &config);
    config.default_account = cross::default_account(root.reader, &config);
    config
}

fn rabbitmq(table: &mut Table) -> Rabbitmq {
    Rabbitmq {
        url: table.secret("url", Presence::Always, parse::amqp_url).unwrap_or_default(),
        prefix: table.value("prefix", "sms".into(), parse::prefix),
        prefetch: table.integer("prefetch", 4_000, 1..=65_535),
        shards: table.value("shards", 1, parse::shards),
    }
}

fn telemetry(table: &mut Table) -> Telemetry {
    Telemetry { otlp_endpoint: table.optional("otlp_endpoint", parse::otlp_endpoint) }
}

fn postgres(table: &mut Table) -> Postgres {
    Postgres {
        url: table.secret("url", Presence::Always, parse::postgres_url).unwrap_or_default(),
        max_connections: table.integer("max_connections", 10, 4..=1_000),
    }
}

fn gateway(table: &mut Table) -> Gateway {
    let submit_url = table.value("submit_url", parse::submit_url_default(), parse::submit_url);
    // Made from the other one, so that an account's key never goes to another host than its jobs.
    let balance_url = match (table.has("balance_url"), beside(&submit_url, "GetNum")) {
        (true, default) => table.value("balance_url", default.unwrap_or(submit_url.clone()), parse::balance_url),
        (false, Some(default)) => table.value("balance_url", default, parse::balance_url),
        (false, None) => table.required("balance_url", parse::balance_url).unwrap_or(submit_url.clone()),
    };
    // A default gives way to what is written: only two written values can contradict each other.
    let timeout = table.duration("timeout", 10 * SECOND, 10 * MILLISECOND..=5 * MINUTE);
    let connecting = (3 * SECOND).min(timeout / 2);
    let gateway = Gateway {
        submit_url,
        balance_url,
        method: table.word("method", Method::Post, &[("GET", Method::Get), ("POST", Method::Post)]),
        format: table.word("format", Format::Json, &[("xml", Format::Xml), ("json", Format::Json)]),
        timeout,
        connect_timeout: table.duration("connect_timeout", connecting, MILLISECOND..=5 * MINUTE),
        balance_interval: balance_interval(table),
        content_max: table.integer("content_max", 300, 1..=1_000),
    };
    if table.is_sound(&["timeout", "connect_timeout"]) && gateway.connect_timeout >= gateway.timeout {
        table.problem("connect_timeout", "is not shorter than gateway.timeout: lower it, or raise gateway.timeout");
    }
    gateway
}

/// Off, or not so often that it is a load.
fn balance_interval(table: &mut Table) -> Duration {
    let every = table.duration("balance_interval", 5 * MINUTE, Duration::ZERO..=DAY);
    if !every.is_zero() && every < SECOND {
        table.problem("balance_interval", "is shorter than a second: write 1s or more, or 0s for never");
    }
    every
}

fn account(table: &mut Table) -> Account {
    let rate = table.rate("rate", Rate::per_second(100));
    let account = Account {
        api_id: table.required("api_id", parse::api_id).unwrap_or_default(),
        api_key: table.secret("api_key", Presence::WhenNeeded, |_| Ok(())),
        auth: table.word("auth", Auth::Dynamic, &[("dynamic", Auth::Dynamic), ("static", Auth::Static)]),
        rate,
        burst: table.integer("burst", default_burst(rate), 1..=1_000_000),
        max_in_flight: table.integer("max_in_flight", 256, 1..=65_535),
        balance_low: table.integer("balance_low", 0, 0..=1_000_000_000),
        signature_length: table.integer("signature_length", SIGNATURE, 0..=32),
        pause_after_refusals: table.integer("pause_after_refusals", 20, 0..=100_000),
        fallback: table.optional("fallback", |name| Ok(name.to_owned())),
    };
    check_burst(table, "burst", account.burst, "rate", account.rate);
    account
}

/// A tenth of a second's worth, rounded down, at least 1.
fn default_burst(rate: Rate) -> u32 {
    let worth = Duration::from_millis(100).as_nanos() / rate.period().as_nanos().max(1);
    u32::try_from(worth).unwrap_or(u32::MAX).max(1)
}

/// A bucket that takes more than a year to fill is a mistake, and more than the limiter can count.
fn check_burst(table: &Table, burst_key: &str, burst: u32, rate_key: &str, rate: Rate) {
    if table.is_sound(&[burst_key, rate_key]) && rate.period().saturating_mul(burst) > 365 * DAY {
        table.problem(burst_key, format!("`{burst}` is more than a year's worth of `{rate_key}`: lower it"));
    }
}

fn limits(table: &mut Table) -> Limits {
    let (short, windows) = NumberLimits::split(&table.list("mobile", Rate::parse));
    let limits = Limits {
        mobile: short.unwrap_or(Rate::per_second(1)),
        mobile_burst: table.integer("mobile_burst", 1, 1..=10_000),
        windows,
        quiet: table.table("quiet_hours", quiet_hours),
    };
    check_burst(table, "mobile_burst", limits.mobile_burst, "mobile", limits.mobile);
    limits
}

fn quiet_hours(table: &mut Table) -> QuietHours {
    let mut quiet = |priority: Priority| table.optional(priority.as_str(), Quiet::parse);
    QuietHours::new(quiet(Priority::High), quiet(Priority::Normal), quiet(Priority::Bulk))
}

fn retry(table: &mut Table) -> Retry {
    // A default gives way to what is written.
    let range = || 10 * MILLISECOND..=30 * DAY;
    let (has_initial, has_max) = (table.has("initial"), table.has("max"));
    let mut retry = Retry {
        max_attempts: table.integer("max_attempts", 6, 1..=100),
        initial: table.duration("initial", 2 * SECOND, range()),
        max: table.duration("max", 10 * MINUTE, range()),
    };
    if !has_initial {
        retry.initial = retry.initial.min(retry.max);
    }
    if !has_max {
        retry.max = retry.max.max(retry.initial);
    }
    if table.is_sound(&["initial", "max"]) && retry.initial > retry.max {
        table.problem("initial", "is longer than retry.max: lower it, or raise retry.max");
    }
    retry
}

fn codes(table: &mut Table) -> CodeTable {
    let words = Class::ALL.map(|class| (class.as_str(), class));
    let mut overrides = BTreeMap::new();
    for (key, word) in table.texts() {
        let entry = parse::code(&key).and_then(|code| Ok((code, one_of(word.trim(), &words)?)));
        // Each alone first, so that every wrong one is named.
        let entry = entry.and_then(|entry| CodeTable::new([entry].into()).map(|_| entry));
        overrides.extend(table.sound(&key, entry));
    }
    CodeTable::new(overrides).unwrap_or_default()
}

fn template(table: &mut Table) -> Template {
    let id = table.required("id", parse::template_id).unwrap_or_default();
    let most = table.integer("variable_max", VARIABLE_MAX, 1..=1_000);
    // What is no template is noted; this stands in for it.
    let read = |text: &str| Template::new(id.clone(), text, most);
    table.required("text", read).unwrap_or_else(|| Template::stand_in(id))
}

fn checks(table: &mut Table) -> Checks {
    let default = Checks::default();
    Checks {
        mobile: table.switch("mobile", default.mobile),
        length: table.switch("length", default.length),
        emoji: table.switch("emoji", default.emoji),
        template: table.switch("template", default.template),
    }
}

fn in_doubt(table: &mut Table) -> InDoubt {
    let words: Vec<_> = OnUnknown::ALL.iter().map(|word| (word.as_str(), *word)).collect();
    InDoubt { on_unknown: table.word("on_unknown", OnUnknown::Hold, &words) }
}

fn events(table: &mut Table) -> Events {
    Events { enabled: table.switch("enabled", true) }
}

fn retention(table: &mut Table) -> Retention {
    let range = SECOND..=36_500 * DAY;
    let jobs = table.duration("jobs", 90 * DAY, range.clone());
    Retention { jobs, rejections: table.duration("rejections", jobs, range) }
}

fn log(table: &mut Table) -> Log {
    let formats = [("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
    Log {
        level: table.value("level", "info".into(), parse::log_level),
        format: table.word("format", LogFormat::Pretty, &formats),
    }
}

fn admin(table: &mut Table) -> Admin {
    Admin {
        listen: table.value("listen", ([127, 0, 0, 1], 9464).into(), parse::listen),
        tokens: table.tables("tokens", token),
    }
}

fn token(table: &mut Table) -> Token {
    let roles = [("viewer", Role::Viewer), ("operator", Role::Operator)];
    Token {
        role: table.required("role", |text| one_of(text, &roles)).unwrap_or(Role::Viewer),
        file: table.secret_file("token"),
        token: table.secret("token", Presence::WhenNeeded, parse::token),
    }
}

fn callbacks(table: &mut Table) -> Callbacks {
    Callbacks {
        listen: table.value("listen", ([127, 0, 0, 1], 9465).into(), parse::listen),
        secret: table.secret("secret", Presence::Optional, parse::callback_secret),
        allow: table.list("allow", parse::network),
        opt_out: opt_out(table),
    }
}

fn opt_out(table: &mut Table) -> Vec<String> {
    let is_written = table.has("opt_out");
    let words = table.list("opt_out", parse::opt_out_word);
    if is_written { words } else { ["TD", "T", "退订"].map(str::to_owned).to_vec() }
}
