//! The command line: a file per command. Tables are for people, `--json` is for programs.

pub mod accounts;
mod admin;
pub mod check;
pub mod completions;
mod connect;
pub mod exit;
pub mod forget;
pub mod health;
pub mod jobs;
pub mod migrate;
mod output;
mod parse;
pub mod receipts;
pub mod rejections;
pub mod reload;
pub mod replay;
pub mod run;
pub mod send;
pub mod simulate;
pub mod suppressions;
mod table;
pub mod templates;
pub mod top;
mod when;
mod who;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::{self, Config, Needs};

const EXAMPLES: &str = "\
Begin here:
  dispatcher check                     is everything set up? What is wrong, and how to mend it
  dispatcher run --migrate             start the daemon
  dispatcher send --id order-1 --mobile 13800138000 --content '您的订单已发货。'
  dispatcher jobs show order-1         what became of it

Configuration: dispatcher.toml in the working directory or --config FILE, and the environment, as in
DISPATCHER__POSTGRES__URL. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.";

/// The heading of the flags that every command has.
const EVERYWHERE: &str = "Everywhere";

/// A durable SMS dispatcher: jobs from RabbitMQ, paced by limiters, submitted to the ihuyi gateway,
/// every outcome in Postgres.
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: dispatcher.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Migrate(migrate::MigrateArgs),
    Check(check::CheckArgs),
    Health(health::HealthArgs),
    Send(Box<send::SendArgs>),
    Jobs(jobs::JobsArgs),
    #[command(visible_alias = "replays")]
    Replay(Box<replay::ReplayArgs>),
    Accounts(accounts::AccountsArgs),
    Rejections(rejections::RejectionsArgs),
    Receipts(receipts::ReceiptsArgs),
    Suppressions(suppressions::SuppressionsArgs),
    Templates(templates::TemplatesArgs),
    Forget(forget::ForgetArgs),
    Reload(reload::ReloadArgs),
    Top(top::TopArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Completions(completions::CompletionsArgs),
}

/// Runs the command that was asked for.
///
/// # Errors
/// [`exit::report`] prints them and knows their exit codes.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let json = cli.json;
    match cli.command {
        Command::Run(args) => {
            let load = move || config::load(cli.config.as_deref(), config::environment(), Needs::Secrets);
            threaded(run::run(args, load()?, load))
        }
        Command::Migrate(args) => single(migrate::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Check(args) => {
            let loaded = config::load(cli.config.as_deref(), config::environment(), Needs::Secrets);
            threaded(check::run(args, loaded, json))
        }
        Command::Health(args) => single(health::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Send(args) => threaded(send::run(*args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Jobs(args) => single(jobs::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Replay(args) => single(replay::run(*args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Accounts(args) => single(accounts::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Rejections(args) => threaded(rejections::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Receipts(args) => single(receipts::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Suppressions(args) => single(suppressions::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Templates(args) => {
            let config = load(cli.config, args.needs())?;
            single(templates::run(args, &config, json))
        }
        Command::Forget(args) => single(forget::run(args, &load(cli.config, Needs::NoSecrets)?, json)),
        Command::Reload(args) => {
            let loaded = config::load(cli.config.as_deref(), config::environment(), args.needs());
            single(reload::run(args, loaded, json))
        }
        Command::Top(args) => {
            let loaded = config::load(cli.config.as_deref(), config::environment(), Needs::NoSecrets);
            single(top::run(args, loaded, json))
        }
        Command::Simulate(args) => single(simulate::run(*args, json)),
        Command::Completions(args) => completions::run(args),
    }
}

fn load(file: Option<PathBuf>, needs: Needs) -> anyhow::Result<Config> {
    Ok(config::load(file.as_deref(), config::environment(), needs)?)
}

/// With a thread for each core: for the daemon, and where RabbitMQ's connection works by itself.
fn threaded(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    finish(Builder::new_multi_thread().enable_all().build(), command)
}

/// With one thread.
fn single(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    finish(Builder::new_current_thread().enable_all().build(), command)
}

fn finish(runtime: std::io::Result<Runtime>, command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = runtime.context("cannot start a runtime")?;
    let outcome = runtime.block_on(command);
    // A name look-up or a stdin that hangs must not hold up the end.
    runtime.shutdown_background();
    outcome
}
