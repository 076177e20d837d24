//! `dispatcher completions`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;

const EXAMPLES: &str = "\
Examples:
  dispatcher completions bash > /etc/bash_completion.d/dispatcher
  dispatcher completions zsh > \"${fpath[1]}/_dispatcher\"
  dispatcher completions fish > ~/.config/fish/completions/dispatcher.fish";

/// Prints the completion script of a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When stdout is closed.
pub(super) fn run(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dispatcher", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}
