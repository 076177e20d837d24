//! Secrets: given as they are, or as the name of a file that holds them. Their value never gets into
//! a problem, and neither does a file's name: a key set as `…_file` by mistake would be shown.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ::config::ValueKind;
use secrecy::SecretString;

use super::Needs;
use super::read::Table;

/// The longest secret, in bytes.
const LONGEST: u64 = 8 * 1024;

/// When a secret must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Every command needs it.
    Always,
    /// The commands with [`Needs::Secrets`] need it; for others its file is not opened.
    WhenNeeded,
    /// Nobody needs it; its file is opened as in `WhenNeeded`.
    Optional,
}

impl Table<'_> {
    /// The secret at `key`, or in the file named at `key_file`, that `check` accepts. The messages
    /// of `check` must not quote it.
    pub fn secret(
        &mut self,
        key: &str,
        presence: Presence,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let is_needed = presence == Presence::Always || self.reader.needs == Needs::Secrets;
        let (given, file) = (self.take(key), self.take(&file_key));
        let (at, found) = match (given, file) {
            (Some(_), Some(_)) => {
                self.problem(key, format!("is given twice: remove `{key}` or `{file_key}`"));
                return None;
            }
            (Some(value), None) => (key, inline(value.kind)),
            (None, Some(value)) => (file_key.as_str(), self.in_file(&file_key, value.kind, is_needed)?),
            (None, None) => {
                match presence {
                    Presence::Always => self.missing(key, key),
                    Presence::WhenNeeded if is_needed => self.missing(key, &file_key),
                    Presence::WhenNeeded | Presence::Optional => {}
                }
                return None;
            }
        };
        let sound = found.and_then(|secret| printable(&secret).and_then(|()| check(&secret)).map(|()| secret));
        self.sound(at, sound).map(SecretString::from)
    }

    /// The file that the secret at `key`, which is not yet taken, stands in.
    pub fn secret_file(&self, key: &str) -> Option<PathBuf> {
        let file_key = format!("{key}_file");
        let name = file_name(self.peek(&file_key)?.kind.clone()).ok()?;
        Some(self.reader.origins.folder_of(&self.path_of(&file_key)).join(name))
    }

    /// What the file named at `file_key` holds; `None` where it need not be opened.
    fn in_file(&self, file_key: &str, value: ValueKind, is_needed: bool) -> Option<Result<String, String>> {
        let folder = self.reader.origins.folder_of(&self.path_of(file_key));
        match file_name(value) {
            Ok(_) if !is_needed => None,
            Ok(name) => Some(read(&folder.join(name))),
            Err(text) => Some(Err(text)),
        }
    }
}

fn inline(value: ValueKind) -> Result<String, String> {
    match value {
        ValueKind::String(text) if text.is_empty() => Err("is empty: give it a value, or remove it".into()),
        ValueKind::String(text) => Ok(text),
        // Digits may have been lost already, as with 1e3.
        _ => Err("is no text: put it in quotes".into()),
    }
}

fn file_name(value: ValueKind) -> Result<String, String> {
    match value {
        ValueKind::String(name) if !name.is_empty() => Ok(name),
        _ => Err("is no file name: write a path in quotes".into()),
    }
}

/// The file's content without the line end after it.
fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    opened.map_err(|error| format!("the file it names cannot be read: {error}: check the path and who may read it"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("the file it names holds more than {LONGEST} bytes: it is no secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "the file it names is no text".to_owned())?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the file it names is empty: write the secret into it".into()),
        secret => Ok(secret.to_owned()),
    }
}

/// Keys, tokens and URLs are printable ASCII without blanks: anything else came in by accident.
fn printable(secret: &str) -> Result<(), String> {
    if secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("holds a blank, a line break or a character that is not ASCII: give only the secret itself".into())
}
