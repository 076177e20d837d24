//! What commands print on stdout. Not `println!`, which panics when the reader has gone.

use std::io::{self, Write};

use serde::Serialize;

/// Prints a line, or several.
///
/// # Errors
/// When stdout is closed; the command should end, quietly (see `exit`).
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// Prints `value` as JSON, indented for the reader's sake.
///
/// # Errors
/// When stdout is closed.
pub(super) fn json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}
