//! `dispatcher reload`: asks the running daemon to take up its configuration anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::admin;
use super::exit::{Reported, WrongUsage};
use super::output;
use crate::config::{Config, Needs, Problems, Role};
use crate::web::client;

const EXAMPLES: &str = "\
Examples:
  dispatcher reload
  dispatcher reload --reason 'twice the rate for the sale'
  dispatcher reload --url http://10.0.0.7:9464 --token-file ~/.dispatcher-token

It asks the daemon at admin.listen as an operator: with the first operator's token of the
configuration, or the one in --token-file. The daemon reads its own file again; what is on the wire
finishes first. Without tokens, send the daemon SIGHUP: its log says what came of it.
Exit 0: in force. Exit 1: it could not be asked, or did not answer. Exit 2: the configuration is wrong, or
a key in it needs a restart; nothing changed.";

/// What an answer takes besides what is on the wire.
const MARGIN: Duration = Duration::from_secs(30);
/// Where the configuration cannot say how long that may take.
const LONGEST_DRAIN: Duration = Duration::from_secs(120);

/// Asks the running daemon to take up its configuration anew: accounts, limits, codes, log level.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReloadArgs {
    /// The daemon's admin listener [default: admin.listen of the configuration]
    #[arg(long, value_parser = admin::parse_url)]
    url: Option<Url>,
    /// A file that holds an operator's token [default: a token of the configuration]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Why, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ReloadArgs {
    /// Where a token is given, the secrets of the configuration need not be readable here.
    pub(super) fn needs(&self) -> Needs {
        if self.token_file.is_some() { Needs::NoSecrets } else { Needs::Secrets }
    }
}

/// Asks once, and says what changed or what is wrong.
///
/// # Errors
/// When the daemon does not answer or refuses, or there is no token to ask with.
pub(super) async fn run(args: ReloadArgs, loaded: Result<Config, Problems>, as_json: bool) -> anyhow::Result<()> {
    let far = args.url.is_some() && args.token_file.is_some();
    // A daemon elsewhere has a file of its own.
    let config = if far { loaded.ok() } else { Some(loaded?) };
    let token = match (&args.token_file, &config) {
        (Some(file), _) => read_token(file)?,
        (None, Some(config)) => configured_token(config)?,
        (None, None) => bail!("no token: name one with --token-file"),
    };
    let url = match (args.url, &config) {
        (Some(url), _) => url,
        (None, Some(config)) => admin::url_of(config)?,
        (None, None) => bail!("no address: name one with --url"),
    };
    let url = url.join("/api/v1/reload")?;
    let limit = config.map_or(LONGEST_DRAIN, |config| config.drain_timeout) + MARGIN;
    let body = json!({ "reason": args.reason }).to_string();
    let asked = client::post(&url, token.expose_secret(), body, limit).await;
    let (status, body) = asked.map_err(|error| anyhow!("{url}: {error}: is the daemon running?"))?;
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() { in_force(&answer, as_json) } else { refused(status.as_u16(), &answer, as_json) }
}

fn read_token(file: &Path) -> anyhow::Result<SecretString> {
    let text = std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display()))?;
    Ok(text.trim().to_owned().into())
}

fn configured_token(config: &Config) -> anyhow::Result<SecretString> {
    let tokens = config.admin.tokens.values();
    let found = tokens.filter(|token| token.role == Role::Operator).find_map(|token| token.token.clone());
    found.ok_or_else(|| {
        let words = "no operator's token is configured: send the daemon SIGHUP (`systemctl reload dispatcher`), or \
                     configure [admin.tokens.NAME] and restart it once";
        WrongUsage(words.into()).into()
    })
}

fn in_force(answer: &Value, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(answer);
    }
    let changed: Vec<&str> = answer["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match changed.is_empty() {
        true => output::line("nothing has changed: the daemon goes on undisturbed"),
        false => output::line(&format!("in force: {}", changed.join(", "))),
    }
}

fn refused(status: u16, answer: &Value, as_json: bool) -> anyhow::Result<()> {
    let detail = answer["detail"].as_str().unwrap_or("no problem details: is this the admin listener of a dispatcher?");
    let faults: Vec<&str> =
        answer["errors"].as_array().into_iter().flatten().filter_map(|e| e["detail"].as_str()).collect();
    if as_json {
        output::json(answer)?;
    } else {
        faults.iter().for_each(|fault| eprintln!("error: {fault}"));
        eprintln!("error: the daemon answers {status}: {detail}");
    }
    Err(if faults.is_empty() { Reported::Failed } else { Reported::WrongConfiguration }.into())
}
