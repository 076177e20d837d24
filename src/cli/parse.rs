//! Values of flags that several commands have. The words of an error are clap's to print.

use crate::domain::mobile::Mobile;
use crate::store::query::{BadCursor, Cursor};

/// A mobile number in any spelling.
///
/// # Errors
/// When it is none; the words do not repeat it.
pub(super) fn mobile(text: &str) -> Result<Mobile, String> {
    Mobile::parse_any(text).map_err(|problem| format!("it {problem}"))
}

/// Where an earlier page ended.
///
/// # Errors
/// When it is no cursor.
pub(super) fn cursor(text: &str) -> Result<Cursor, BadCursor> {
    text.parse()
}
