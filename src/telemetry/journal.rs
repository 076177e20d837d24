//! What systemd's journal must see of a line's level, so that `journalctl -p warning` finds it: `<4>` before the line
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html>). The journal takes it away again.

use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Stderr, of which it is known whether the journal reads it.
pub(super) struct Stderr {
    is_journal: bool,
}

impl Stderr {
    pub fn of_this_process() -> Self {
        let stream = std::env::var("JOURNAL_STREAM").ok();
        let stderr = std::fs::metadata("/proc/self/fd/2").ok();
        Stderr { is_journal: stream.zip(stderr).is_some_and(|(stream, stderr)| is_of(&stream, &stderr)) }
    }
}

/// Is it this file that the journal reads? A child whose stderr leads elsewhere inherits the variable, too.
fn is_of(stream: &str, file: &Metadata) -> bool {
    stream == format!("{}:{}", file.dev(), file.ino())
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { prefix: "" }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Line {
        Line { prefix: if self.is_journal { prefix(*meta.level()) } else { "" } }
    }
}

/// syslog's numbers.
fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Writes one line, which comes in one piece.
pub(super) struct Line {
    prefix: &'static str,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // In one piece, too: other threads write to stderr beside it.
        io::stderr().write_all(&[self.prefix.as_bytes(), line].concat())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = |folder: &tempfile::TempDir| std::fs::metadata(folder.path()).unwrap();
        let stream = format!("{}:{}", file(&folder).dev(), file(&folder).ino());
        assert!(is_of(&stream, &file(&folder)) && !is_of(&stream, &file(&other)));
        assert!(!is_of("", &file(&folder)) && !is_of("8:1", &file(&folder)));
    }
}
