//! `dispatcher accounts`: list, pause, resume.

use std::collections::BTreeSet;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::table::Table;
use super::{connect, output, when, who};
use crate::config::Config;
use crate::dispatch::ports::Upkeep;
use crate::store::Store;
use crate::store::query::AccountInfo;

const EXAMPLES: &str = "\
Examples:
  dispatcher accounts list
  dispatcher accounts pause main --reason 'template under review'
  dispatcher accounts resume main

While an account is paused its jobs wait; none fails, no attempt is spent. A pause by hand ends
only by hand. Running daemons follow within seconds.";

/// Lists the accounts, pauses or resumes one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AccountsArgs {
    #[command(subcommand)]
    command: AccountsCommand,
}

#[derive(Debug, Subcommand)]
enum AccountsCommand {
    /// Lists the accounts and why the paused ones are paused
    List,
    /// Stops submitting by an account until it is resumed
    Pause {
        /// The account's name in the configuration
        name: String,
        /// Why, for whoever looks at it next
        #[arg(long, value_name = "TEXT", default_value = "paused by hand")]
        reason: String,
    },
    /// Ends an account's pause, whoever began it
    Resume {
        /// The account's name in the configuration
        name: String,
        /// Why, for whoever looks at it later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// An account in the list.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    info: AccountInfo,
    /// It stands in this configuration.
    configured: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When Postgres does not answer, or there is no such account.
pub(super) async fn run(args: AccountsArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let store = connect::migrated_store(config).await?;
    match args.command {
        AccountsCommand::List => output::list(&listed(&store, config).await?, as_json, table),
        AccountsCommand::Pause { name, reason } => {
            know(&store, config, &name).await?;
            let changed = store.operate_pause(&who::operator(Some(reason)), &name).await?;
            say(&name, "paused", changed, as_json)
        }
        AccountsCommand::Resume { name, reason } => {
            know(&store, config, &name).await?;
            let changed = store.operate_resume(&who::operator(reason), &name).await?;
            say(&name, "active", changed, as_json)
        }
    }
}

/// The accounts that Postgres knows and those that are configured, by name.
async fn listed(store: &Store, config: &Config) -> anyhow::Result<Vec<Listed>> {
    let known = store.list_account_info().await?;
    let is_new = |name: &&String| known.iter().all(|info| info.name != **name);
    let new = config.accounts.keys().filter(is_new).map(|name| Listed {
        info: AccountInfo {
            name: name.clone(),
            state: "active".into(),
            reason: None,
            paused_at: None,
            paused_by: None,
        },
        configured: true,
    });
    let mut listed: Vec<Listed> = new.collect();
    listed.extend(known.into_iter().map(|info| Listed { configured: config.account(&info.name).is_some(), info }));
    listed.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    Ok(listed)
}

fn table(accounts: &[Listed]) -> String {
    let mut table = Table::new(&["NAME", "STATE", "SINCE", "BY", "REASON", "CONFIGURED"]);
    for Listed { info, configured } in accounts {
        table.row([
            info.name.clone(),
            info.state.clone(),
            info.paused_at.map(when::show).unwrap_or_default(),
            info.paused_by.clone().unwrap_or_default(),
            info.reason.clone().unwrap_or_default(),
            if *configured { "yes".into() } else { "no".into() },
        ]);
    }
    table.render()
}

/// Makes sure that Postgres has the account: a configured one may be paused before the first start.
async fn know(store: &Store, config: &Config, name: &str) -> anyhow::Result<()> {
    if config.account(name).is_some() {
        store.accounts(&[name.to_owned()]).await?;
        return Ok(());
    }
    let known = store.list_account_info().await?;
    if known.iter().any(|info| info.name == name) {
        return Ok(());
    }
    let known = known.iter().map(|info| info.name.as_str());
    let names: BTreeSet<&str> = known.chain(config.accounts.keys().map(String::as_str)).collect();
    match Vec::from_iter(names) {
        names if names.is_empty() => bail!("there is no account yet: write [accounts.NAME] into the configuration"),
        names => bail!("there is no account of this name: name one of {}", names.join(", ")),
    }
}

fn say(name: &str, state: &str, changed: bool, as_json: bool) -> anyhow::Result<()> {
    match (as_json, changed) {
        (true, _) => output::json(&json!({ "name": name, "state": state, "changed": changed })),
        (false, true) => output::line(&format!("account {name} is {state} now")),
        (false, false) => output::line(&format!("account {name} was {state} already")),
    }
}
