//! `dispatcher jobs`: what became of jobs, and what an operator makes of them.

mod act;
mod filter;
mod list;
mod show;
mod story;

pub(super) use act::ids_in;
pub(super) use filter::JobFlags;

use clap::{Args, Subcommand};

use super::connect;
use crate::config::Config;
use crate::store::query::JobInfo;

const EXAMPLES: &str = "\
Examples:
  dispatcher jobs list --state failed --since 1h
  dispatcher jobs list --mobile 13800138000
  dispatcher jobs show order-1
  dispatcher jobs cancel order-1
  dispatcher jobs resolve order-2 --sent";

/// Lists jobs, shows one with all that happened to it, withdraws some, or ends doubts.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct JobsArgs {
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Cancel(act::CancelArgs),
    Resolve(act::ResolveArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// When Postgres does not answer, or there is no such job.
pub(super) async fn run(args: JobsArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let store = connect::migrated_store(config).await?;
    match args.command {
        JobsCommand::List(args) => list::run(args, &store, as_json).await,
        JobsCommand::Show(args) => show::run(args, &store, config, as_json).await,
        JobsCommand::Cancel(args) => act::cancel(args, &store, as_json).await,
        JobsCommand::Resolve(args) => act::resolve(args, &store, as_json).await,
    }
}

/// A job's state, with what it waits for.
fn state(job: &JobInfo) -> String {
    match &job.wait_reason {
        Some(reason) => format!("{} ({reason})", job.state),
        None => job.state.clone(),
    }
}
