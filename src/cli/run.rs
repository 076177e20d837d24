//! `dispatcher run`: the daemon.

use clap::Args;

use super::exit::Reported;
use crate::config::{Config, Problems};
use crate::{app, telemetry};

const EXAMPLES: &str = "\
Examples:
  dispatcher run
  dispatcher --config /etc/dispatcher/dispatcher.toml run --migrate
  DISPATCHER__LOG__FORMAT=json dispatcher run

SIGTERM and Ctrl-C: it takes no more jobs, lets what is on the wire finish for drain_timeout, hands
the rest back to RabbitMQ, and exits 0. SIGHUP or `dispatcher reload`: it
takes up the configuration anew, without losing a job; a bad one, or a key that needs a restart,
changes nothing and is logged. Is all well? curl http://127.0.0.1:9464/readyz";

/// Runs the daemon: takes jobs from RabbitMQ, submits them to ihuyi, records every outcome in Postgres.
///
/// Logs go to stderr. With RabbitMQ or Postgres out of reach it keeps trying; on a database without the
/// migrations it exits 1.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Apply missing migrations first; of several daemons that start at a time, one does
    #[arg(long)]
    migrate: bool,
}

/// Runs until it is told to stop.
///
/// # Errors
/// When the daemon cannot start or did not end in order.
pub(super) async fn run(
    args: RunArgs,
    config: Config,
    load: impl Fn() -> Result<Config, Problems>,
) -> anyhow::Result<()> {
    telemetry::logging::init(&config.log.level, config.log.format)?;
    app::run(config, args.migrate, load).await.map_err(|error| {
        // In the format of the log, for whoever collects it.
        tracing::error!("the daemon ends: {error:#}");
        Reported::Failed.into()
    })
}
