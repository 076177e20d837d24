//! The configuration: `dispatcher.toml` and the environment, checked whole before anything is bound
//! or connected. The sample `dispatcher.toml` at the top of the repository explains every key.
//!
//! In three steps, a file each: `source` merges file and environment to one tree of values as typed;
//! `read` takes typed values out of a table and notes every problem; `sections` turns the tables into
//! the structs of this file, with `parse` for single values and `cross` for what must fit together.

mod cross;
mod parse;
mod problem;
mod read;
mod secret;
mod sections;
mod source;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::codes::CodeTable;
use crate::domain::job::OnUnknown;
use crate::domain::limits::NumberLimits;
use crate::domain::price::Price;
use crate::domain::quiet::QuietHours;
use crate::domain::rate::Rate;
use crate::domain::template::Templates;

pub use crate::domain::message::Checks;
pub use crate::domain::wire::{Auth, Format, Method};

pub use problem::{Problem, Problems};

use written::Written;

/// Whether a command uses the accounts' keys, the tokens and the callback secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// All secrets must be there, and at least one account (`run`, `check`).
    Secrets,
    /// Only RabbitMQ and Postgres are used (`send`, `jobs`, `migrate`): a missing secret is no
    /// problem, no account need be configured, and no secret file but those of the two `url_file`
    /// keys is opened.
    NoSecrets,
}

/// All of the configuration. A value that exists is valid: in range, and every name in it refers to
/// something configured. `Debug` redacts the secrets.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[rabbitmq]`
    pub rabbitmq: Rabbitmq,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[gateway]`
    pub gateway: Gateway,
    /// The account of jobs that name none. Filled in where one account is configured; `None` only
    /// under [`Needs::NoSecrets`] without any account.
    pub default_account: Option<String>,
    /// `[accounts.NAME]`, by name (`[a-z0-9_-]{1,64}`).
    pub accounts: BTreeMap<String, Account>,
    /// `[limits]`
    pub limits: Limits,
    /// `[retry]`
    pub retry: Retry,
    /// The contract's table with the overrides of `[codes]`.
    pub codes: CodeTable,
    /// `[templates.NAME]`, by name.
    pub templates: Templates,
    /// `[checks]`
    pub checks: Checks,
    /// `[in_doubt]`
    pub in_doubt: InDoubt,
    /// `[events]`
    pub events: Events,
    /// `[retention]`
    pub retention: Retention,
    /// `[log]`
    pub log: Log,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// How long what is on the wire may take to finish after SIGTERM: 0 to 1 h. Default 15 s.
    pub drain_timeout: Duration,
    /// `[admin]`
    pub admin: Admin,
    /// `[callbacks]`
    pub callbacks: Callbacks,
    written: Written,
}

/// `[rabbitmq]`: where jobs come from.
#[derive(Clone, Debug)]
pub struct Rabbitmq {
    /// `amqp://` or `amqps://`, with user, password and virtual host. No default.
    pub url: SecretString,
    /// Begins the name of every queue and exchange: `[A-Za-z0-9._-]{1,64}`. Default `sms`.
    pub prefix: String,
    /// Unacknowledged messages a consumer may hold: 1 to 65535. Default 1000.
    pub prefetch: u16,
    /// Queues a priority is split into: 1, for now.
    pub shards: u16,
}

/// `[postgres]`: where every outcome goes.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// `postgres://` or `postgresql://`. No default.
    pub url: SecretString,
    /// 4 to 1000. Default 10.
    pub max_connections: u32,
}

/// `[gateway]`: how ihuyi is spoken to.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// With its `?method=Submit`; `http` or `https`.
    pub submit_url: Url,
    /// With its `?method=GetNum`; `http` or `https`.
    pub balance_url: Url,
    /// Default POST.
    pub method: Method,
    /// Default JSON.
    pub format: Format,
    /// From the first byte to the last, connecting included: 10 ms to 5 min. Default 10 s.
    pub timeout: Duration,
    /// For name, connection and TLS: at least 1 ms and shorter than `timeout`. Default 3 s.
    pub connect_timeout: Duration,
    /// Between two balance queries for each account: 1 s to a day; 0: only while an account is paused.
    /// Default 5 min.
    pub balance_interval: Duration,
    /// The longest content taken, in characters: 1 to 1000. Default 300.
    pub content_max: usize,
}

/// `[accounts.NAME]`: one APIID at ihuyi and its limits.
#[derive(Clone, Debug)]
pub struct Account {
    /// `C########`, or the older `cf_xxx`.
    pub api_id: String,
    /// The APIKEY. Always `Some` under [`Needs::Secrets`].
    pub api_key: Option<SecretString>,
    /// Default dynamic.
    pub auth: Auth,
    /// Submissions, all replicas together. Default 100 a second.
    pub rate: Rate,
    /// What may go at once; in any second at most rate + burst. 1 to 1,000,000. Default: a tenth of
    /// a second's worth of `rate`, rounded down, at least 1.
    pub burst: u32,
    /// Requests on the wire at a time: 1 to 65535. Default 256.
    pub max_in_flight: u32,
    /// A balance below this is warned of, in messages: 0 (never) to 1,000,000,000. Default 0.
    pub balance_low: u32,
    /// Characters of the signature that ihuyi puts before each text, its two brackets counted in, as they
    /// are billed: 0 to 32. Default 6.
    pub signature_length: usize,
    /// So many numbers refused for good in a row, nothing accepted in between, pause the account: 0
    /// (never) to 100,000. Default 20.
    pub pause_after_refusals: u32,
    /// The account that takes over new jobs while this one is paused: another configured one, and
    /// following it never leads back here.
    pub fallback: Option<String>,
}

/// `[limits]`: for every mobile number, whatever the account.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The strictest over less than an hour. Default 1 a second.
    pub mobile: Rate,
    /// What may go to one number at once: 1 to 10,000. Default 1.
    pub mobile_burst: u32,
    /// Those over hours and days. Default none.
    pub windows: NumberLimits,
    /// `[limits.quiet_hours]`. Default none.
    pub quiet: QuietHours,
}

/// `[retry]`: exponential backoff.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Submissions of a job in all: 1 to 100. Default 6.
    pub max_attempts: u32,
    /// The first delay: 10 ms up to `max`. Default 2 s.
    pub initial: Duration,
    /// The longest delay: up to 30 days. Default 10 min.
    pub max: Duration,
}

/// `[in_doubt]`
#[derive(Clone, Debug)]
pub struct InDoubt {
    /// For jobs that do not say. Default hold.
    pub on_unknown: OnUnknown,
}

/// `[events]`: what publishers are told of their jobs.
#[derive(Clone, Debug)]
pub struct Events {
    /// Whether changes of jobs are announced on the exchange of events. Default true.
    pub enabled: bool,
}

/// `[retention]`
#[derive(Clone, Debug)]
pub struct Retention {
    /// How long a settled job is kept, and so how long its id is known: at least 1 s. Default 90 days.
    pub jobs: Duration,
    /// How long a message that was refused, and a note of what operators did, is kept: at least 1 s.
    /// Default as long as `jobs`.
    pub rejections: Duration,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// Directives as `tracing_subscriber::EnvFilter` reads them, and it can read these. Default `info`.
    pub level: String,
    /// Default pretty.
    pub format: LogFormat,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// An OpenTelemetry collector, `http://HOST:4318`: spans go to `/v1/traces` below it. Without it, none leave.
    pub otlp_endpoint: Option<Url>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// `[admin]`: metrics, health and the API; private.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Default `127.0.0.1:9464`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// `[admin.tokens.NAME]`, by the name that is written to `operations`. Empty: the API answers 401.
    pub tokens: BTreeMap<String, Token>,
}

/// `[admin.tokens.NAME]`: who may use the API.
#[derive(Clone, Debug)]
pub struct Token {
    /// No default: it is said or refused.
    pub role: Role,
    /// The bearer token, at least 4 characters, no two alike. Always `Some` under [`Needs::Secrets`].
    pub token: Option<SecretString>,
    /// The file that it stands in, which may change while the daemon runs.
    pub file: Option<PathBuf>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look.
    Viewer,
    /// Look and act.
    Operator,
}

/// `[callbacks]`: where ihuyi posts receipts and replies; public.
#[derive(Clone, Debug)]
pub struct Callbacks {
    /// Default `127.0.0.1:9465`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The last part of the URL bound at ihuyi: 4 to 128 of `[A-Za-z0-9_-]`. Without it the
    /// listener stays off.
    pub secret: Option<SecretString>,
    /// Who may post. Empty: anyone who knows the secret.
    pub allow: Vec<IpNet>,
    /// Replies that put their number on the suppression list. Default `TD`, `T` and `退订`; empty: none do.
    pub opt_out: Vec<String>,
}

impl Config {
    /// The account of that name.
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// What messages cost.
    pub fn price(&self) -> Price {
        let signature = |(name, account): (&String, &Account)| (name.clone(), account.signature_length);
        Price::new(self.accounts.iter().map(signature).collect(), self.templates.clone())
    }

    /// The keys whose values in `new` a running daemon cannot take up: connections and listeners.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        fn secret(secret: &SecretString) -> &str {
            secret.expose_secret()
        }
        let (amqp, new_amqp) = (&self.rabbitmq, &new.rabbitmq);
        let (postgres, new_postgres) = (&self.postgres, &new.postgres);
        let tokens = |config: &Config| -> Vec<_> {
            let token = |(name, token): (&String, &Token)| {
                // What stands in a file is read again when that changes: see `web::api::tokens`.
                let value = token.token.as_ref().filter(|_| token.file.is_none());
                (name.clone(), token.role, token.file.clone(), value.map(|value| secret(value).to_owned()))
            };
            config.admin.tokens.iter().map(token).collect()
        };
        let callbacks = |config: &Config| {
            let Callbacks { listen, secret: word, allow, opt_out } = &config.callbacks;
            (*listen, word.as_ref().map(|word| secret(word).to_owned()), allow.clone(), opt_out.clone())
        };
        let changes = [
            ("rabbitmq.url", secret(&amqp.url) != secret(&new_amqp.url)),
            ("rabbitmq.prefix", amqp.prefix != new_amqp.prefix),
            ("rabbitmq.prefetch", amqp.prefetch != new_amqp.prefetch),
            ("postgres.url", secret(&postgres.url) != secret(&new_postgres.url)),
            ("postgres.max_connections", postgres.max_connections != new_postgres.max_connections),
            ("log.format", self.log.format != new.log.format),
            ("telemetry.otlp_endpoint", self.telemetry.otlp_endpoint != new.telemetry.otlp_endpoint),
            ("admin.listen", self.admin.listen != new.admin.listen),
            ("admin.tokens", tokens(self) != tokens(new)),
            ("callbacks", callbacks(self) != callbacks(new)),
            ("events.enabled", self.events.enabled != new.events.enabled),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }

    /// The keys that were written otherwise in `new`, by their full paths. Of a secret in a file only an
    /// account's key is looked at.
    pub fn changed(&self, new: &Config) -> Vec<String> {
        self.written.changed(&new.written)
    }

    /// The account of jobs that name none; `None` only where no account is configured.
    pub fn default_account_name(&self) -> Option<&str> {
        self.default_account.as_deref()
    }
}

/// The process's environment, for [`load`]. Never panics: what is not Unicode is made so, and then
/// refused where it is used.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// Reads the file at `path` (none given: `./dispatcher.toml` if it is there), lays the variables
/// `DISPATCHER__…` of `env` over it, and checks everything.
///
/// # Errors
/// Every problem at once, each with its path and cure.
pub fn load(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    needs: Needs,
) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let source = source::read(path, env, &mut problems)?;
    let written = Written::of(&source.root);
    let is_without_file = source.origins.is_without_file();
    let config = read::Reader::read(source, needs, problems, sections::config)
        .map_err(|problems| if is_without_file { source::name_the_file(problems) } else { problems })?;
    Ok(Config { written: written.with_keys(&config.accounts), ..config })
}

#[cfg(test)]
mod tests;
