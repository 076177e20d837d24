//! What commands print on stdout. Not `println!`, which panics when the reader has gone.

use std::io::{self, Write};

use serde::Serialize;

use crate::store::query::Cursor;

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

/// Prints a list: a JSON array, or what `table` makes of it.
///
/// # Errors
/// When stdout is closed.
pub(super) fn list<T: Serialize>(rows: &[T], as_json: bool, table: impl Fn(&[T]) -> String) -> anyhow::Result<()> {
    match (as_json, rows) {
        (true, _) => json(&rows),
        (false, []) => line("nothing found"),
        (false, _) => line(&table(rows)),
    }
}

/// Says on stderr how to go on, where there is more.
pub(super) fn next_page(next: Option<&Cursor>) {
    if let Some(cursor) = next {
        eprintln!("there is more: add --cursor {cursor}");
    }
}
