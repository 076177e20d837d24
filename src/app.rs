//! The composition root.

use crate::config::Config;

/// Runs the daemon until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot start, or does not end in order.
pub async fn run(_config: Config, _migrate: bool) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not part of this build")
}
