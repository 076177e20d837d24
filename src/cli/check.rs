//! `dispatcher check`: is everything set up? What is wrong, and how to mend it.

use std::io::ErrorKind;
use std::time::Duration;

use chrono::Utc;
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::connect::PATIENCE;
use super::exit::Reported;
use super::output;
use crate::broker::probe::ProbeError;
use crate::config::{Account, Config, Problems};
use crate::domain::codes::{SUCCESS, meaning};
use crate::gateway::{Balance, Client, Credentials};
use crate::store::Store;
use crate::{app, broker, store};

const EXAMPLES: &str = "\
Examples:
  dispatcher check
  dispatcher --config /etc/dispatcher/dispatcher.toml check
  dispatcher check --json | jq '.checks[] | select(.ok | not)'

It sends no SMS and changes nothing: a message goes through a queue of its own in RabbitMQ, Postgres
is asked whether it takes writes, ihuyi for each account's balance. All at once, 10 s at most. Exit 1 where something fails, 2 where
the configuration is wrong.";

/// Checks configuration, RabbitMQ, Postgres and each account's balance: what is wrong, how to mend it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {}

/// What one check found.
#[derive(Debug, PartialEq, Serialize)]
struct Finding {
    /// config, rabbitmq, postgres, or accounts.NAME.
    check: String,
    ok: bool,
    /// What is well or wrong.
    detail: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { check: check.into(), ok: true, detail: detail.into(), cure: None }
    }

    fn wrong(check: impl Into<String>, detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Finding { check: check.into(), ok: false, detail: detail.into(), cure: Some(cure.into()) }
    }

    fn line(&self) -> String {
        let mark = if self.ok { "ok  " } else { "FAIL" };
        let cure = self.cure.as_ref().map(|cure| format!(": {cure}")).unwrap_or_default();
        format!("{mark}  {:<16} {}{cure}", self.check, self.detail)
    }
}

/// Checks everything and prints a line for each thing.
///
/// # Errors
/// When anything is wrong; what, has been printed.
pub(super) async fn run(_args: CheckArgs, loaded: Result<Config, Problems>, as_json: bool) -> anyhow::Result<()> {
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => return wrong_configuration(problems, as_json),
    };
    let mut findings = vec![Finding::ok("config", format!("{} account(s)", config.accounts.len()))];
    let (rabbitmq, postgres, accounts) = tokio::join!(rabbitmq(&config), postgres(&config), accounts(&config));
    findings.extend([rabbitmq, postgres]);
    findings.extend(accounts);
    findings.extend(listeners(&config).await);
    let ok = findings.iter().all(|finding| finding.ok);
    match as_json {
        true => output::json(&json!({ "ok": ok, "checks": findings }))?,
        false => findings.iter().try_for_each(|finding| output::line(&finding.line()))?,
    }
    if ok { Ok(()) } else { Err(Reported::Failed.into()) }
}

fn wrong_configuration(problems: Problems, as_json: bool) -> anyhow::Result<()> {
    if !as_json {
        return Err(problems.into());
    }
    let findings: Vec<_> = problems
        .iter()
        .map(|problem| json!({ "check": "config", "ok": false, "detail": problem.to_string() }))
        .collect();
    output::json(&json!({ "ok": false, "checks": findings }))?;
    Err(Reported::WrongConfiguration.into())
}

async fn rabbitmq(config: &Config) -> Finding {
    let probe = broker::probe::probe(&config.rabbitmq.url, &config.rabbitmq.prefix);
    let cure = match timeout(PATIENCE, probe).await {
        Ok(Ok(())) => {
            return Finding::ok("rabbitmq", "connected, may create queues, takes messages and gives them back");
        }
        Err(_) => return Finding::wrong("rabbitmq", silent(PATIENCE), "check host, port and firewall of rabbitmq.url"),
        Ok(Err(error)) => (error.to_string(), rabbitmq_cure(&error)),
    };
    Finding::wrong("rabbitmq", cure.0, cure.1)
}

fn rabbitmq_cure(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Unreachable(_) => "start RabbitMQ, or correct host and port of rabbitmq.url",
        ProbeError::Refused(_) => "correct user, password and virtual host (%2f is /) in rabbitmq.url",
        ProbeError::Forbidden(_) => {
            "give the user all permissions on what begins with rabbitmq.prefix, and to write to amq.default: \
             `rabbitmqctl set_permissions`"
        }
        ProbeError::Blocked => "free memory or disk of the broker: `rabbitmqctl status` names its alarms",
        ProbeError::Lost => "see the log of RabbitMQ",
    }
}

async fn postgres(config: &Config) -> Finding {
    match timeout(PATIENCE, store::probe(&config.postgres.url)).await {
        Err(_) => return Finding::wrong("postgres", silent(PATIENCE), "check host, port and firewall of postgres.url"),
        Ok(Err(error)) => return Finding::wrong("postgres", error.problem, error.cure),
        Ok(Ok(())) => {}
    }
    let checked = match Store::new(&config.postgres.url, 1, PATIENCE) {
        Ok(store) => store.check_migrations().await,
        Err(error) => Err(error.into()),
    };
    match checked {
        Ok(()) => Finding::ok("postgres", "connected, tables are up to date"),
        // Its words end with the cure.
        Err(error) => Finding { cure: None, ..Finding::wrong("postgres", error.to_string(), "") },
    }
}

async fn accounts(config: &Config) -> Vec<Finding> {
    match Client::new(&app::client_options(&config.gateway, 1)) {
        Ok(client) => join_all(config.accounts.iter().map(|(name, account)| balance(&client, name, account))).await,
        Err(error) => vec![Finding { cure: None, ..Finding::wrong("gateway", error.to_string(), "") }],
    }
}

/// Addresses that this machine has not, or may not use. One that is taken is no fault: a daemon may run.
async fn listeners(config: &Config) -> Vec<Finding> {
    let callbacks = config.callbacks.secret.is_some().then_some(("callbacks.listen", config.callbacks.listen));
    let mut findings = Vec::new();
    for (key, address) in [("admin.listen", config.admin.listen)].into_iter().chain(callbacks) {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() != ErrorKind::AddrInUse => {
                let cure = "name an address of this machine, and a port above 1023";
                findings.push(Finding::wrong(key, format!("{address} cannot be bound: {error}"), cure));
            }
            _ => {}
        }
    }
    findings
}

/// The URL of the balance is that of the submits with another method, unless it is configured.
const BALANCE_CURE: &str = "correct gateway.submit_url (or balance_url, where it is set), or let this machine reach it";

async fn balance(client: &Client, name: &str, account: &Account) -> Finding {
    let Some(api_key) = account.api_key.clone() else {
        return Finding::wrong(format!("accounts.{name}"), "has no key", "set api_key or api_key_file");
    };
    let auth = account.auth;
    let credentials = Credentials { api_id: account.api_id.clone(), api_key, auth };
    let asked = timeout(PATIENCE, client.balance(&credentials, Utc::now().timestamp())).await;
    judge(name, asked.unwrap_or_else(|_| Balance::Unavailable(silent(PATIENCE))))
}

/// What an answer to the balance query says about the account's set-up.
fn judge(name: &str, balance: Balance) -> Finding {
    let check = format!("accounts.{name}");
    match balance {
        Balance::Unavailable(reason) => Finding::wrong(check, reason, BALANCE_CURE),
        Balance::Answer { code: SUCCESS, left: Some(..=0), .. } => {
            Finding::wrong(check, "no message is left", "top up the account in ihuyi's console")
        }
        Balance::Answer { code: SUCCESS, left: Some(left), .. } => Finding::ok(check, format!("{left} messages left")),
        Balance::Answer { code: SUCCESS, left: None, .. } => Finding::ok(check, "accepted; ihuyi names no balance"),
        Balance::Answer { code, message, .. } => {
            let words = match meaning(code) {
                Some((chinese, english)) => format!("code {code} {chinese} ({english})"),
                None => format!("code {code} “{}”", super::table::clean(&message)),
            };
            Finding::wrong(check, words, code_cure(name, code))
        }
    }
}

fn code_cure(name: &str, code: i64) -> String {
    match code {
        400 | 4052 => "register this machine's public IP address in ihuyi's console".into(),
        401 | 402 | 405 | 4053 => {
            format!("compare accounts.{name}.api_id and api_key with APIID and APIKEY in ihuyi's console")
        }
        4050 => "ask ihuyi why, and to unfreeze it".into(),
        4051 => "top up the account in ihuyi's console".into(),
        40501 => "set this machine's clock: a dynamic password holds the time (`timedatectl`)".into(),
        40502 => format!("compare accounts.{name}.api_key with the APIKEY in ihuyi's console"),
        _ => "look the code up in ihuyi's console, or ask ihuyi".into(),
    }
}

fn silent(patience: Duration) -> String {
    format!("no answer within {} s", patience.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i64, left: Option<i64>) -> Finding {
        judge("main", Balance::Answer { code, message: "…".into(), left })
    }

    #[test]
    fn a_balance_is_good_news_unless_it_is_used_up() {
        assert_eq!(answer(2, Some(8_000)).line(), "ok    accounts.main    8000 messages left");
        assert!(answer(2, None).ok);
        assert!(!answer(2, Some(0)).ok);
    }

    #[test]
    fn a_refusal_names_what_to_do() {
        for (code, cure) in [
            (405, "accounts.main.api_id"),
            (400, "IP address"),
            (4052, "IP address"),
            (4051, "top up"),
            (40501, "clock"),
            (40502, "accounts.main.api_key"),
            (999, "look the code up"),
        ] {
            let finding = answer(code, None);
            assert!(!finding.ok && finding.line().contains(cure), "{code}: {}", finding.line());
        }
        assert!(!judge("main", Balance::Unavailable("could not connect: refused".into())).ok);
    }
}
