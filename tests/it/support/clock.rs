//! A wall clock for one process, which a test sets while the process runs: libfaketime, preloaded. The
//! monotonic clock, and everybody else's time, go on as they are.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The variant of the library for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// See the module.
pub struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    /// One that is so many seconds ahead of the true time; behind it where that is negative.
    pub fn off_by(seconds: i64) -> Clock {
        let clock = Clock { folder: tempfile::tempdir().unwrap(), library: library() };
        clock.set(seconds);
        clock
    }

    /// Sets it: from now on it is so many seconds ahead of the true time.
    pub fn set(&self, seconds: i64) {
        // Never half a number: each look at the clock reads the file.
        let written = self.folder.path().join("next");
        std::fs::write(&written, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(written, self.file()).unwrap();
    }

    /// What makes a process live by it.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

/// Where Debian has put it: the folder is another for each kind of machine.
fn library() -> PathBuf {
    let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().expect("dpkg runs");
    let files = String::from_utf8_lossy(&listed.stdout).into_owned();
    let library = files.lines().find(|file| file.ends_with(LIBRARY));
    PathBuf::from(library.expect("libfaketime is not installed: `make test` installs it"))
}
