//! What the built binary tells a service manager, over a socket as systemd gives it.

use std::io::Seek;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use tokio::net::UnixDatagram;

use crate::support::process::{Process, free_address};
use crate::support::stage::Stage;

/// The socket of a service manager that wants a sign of life twice a second.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { socket, folder }
    }

    fn process(&self, stage: &Stage) -> Process {
        self.process_with(stage, Path::new("/dev/null"))
    }

    fn process_with(&self, stage: &Stage, config: &Path) -> Process {
        let path = self.folder.path().join("notify").display().to_string();
        let mut environment = stage.environment();
        environment.push(("NOTIFY_SOCKET".to_owned(), path));
        environment.push(("WATCHDOG_USEC".to_owned(), "500000".to_owned()));
        Process::run_with(config, &environment, free_address())
    }

    /// Reads until a message has this line, or a line that begins with it, and returns the message.
    async fn hears(&self, wanted: &str) -> String {
        let mut buffer = [0; 4096];
        let listen = async {
            loop {
                let read = self.socket.recv(&mut buffer).await.unwrap();
                let text = String::from_utf8_lossy(&buffer[..read]);
                if text.lines().any(|line| line.starts_with(wanted)) {
                    return text.into_owned();
                }
            }
        };
        let heard = tokio::time::timeout(std::time::Duration::from_secs(30), listen).await;
        heard.unwrap_or_else(|_| panic!("the service manager is not told {wanted}"))
    }
}

#[tokio::test]
async fn the_service_manager_hears_of_start_life_and_stop() {
    let (stage, manager) = (Stage::new().await, Manager::new());
    stage.migrate().await;
    let process = manager.process(&stage);
    manager.hears("READY=1").await;
    manager.hears("STATUS=consuming").await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    manager.hears("STOPPING=1").await;
    stage.finish().await;
}

#[tokio::test]
async fn the_service_manager_hears_when_a_reload_begins_and_ends() {
    let (stage, manager) = (Stage::new().await, Manager::new());
    stage.migrate().await;
    let config = manager.folder.path().join("dispatcher.toml");
    std::fs::write(&config, "").unwrap();
    let process = manager.process_with(&stage, &config);
    manager.hears("READY=1").await;
    manager.hears("STATUS=consuming").await;
    for toml in ["drain_timeout = \"7s\"", "drain_timeout = \"soon\""] {
        std::fs::write(&config, toml).unwrap();
        process.signal("-HUP").await;
        let message = manager.hears("RELOADING=1").await;
        let line = message.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let micros: u64 = line.and_then(|micros| micros.parse().ok()).unwrap_or_else(|| panic!("no time: {message}"));
        assert!(micros > 0);
        manager.hears("READY=1").await;
    }
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    stage.finish().await;
}

#[tokio::test]
async fn the_journal_learns_each_lines_level_and_nobody_else_does() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    for (format, begins) in [("pretty", "<3>"), ("json", "<3>{")] {
        let path = folder.path().join(format);
        let file = std::fs::File::create(&path).unwrap();
        let about = file.metadata().unwrap();
        let journal = format!("{}:{}", about.dev(), about.ino());
        for (stream, begins) in [(journal, begins), ("1:1".to_owned(), "")] {
            // Without its tables it ends at once, and says so in a line of the log.
            let status = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
                .args(["--config", "/dev/null", "run"])
                .envs(stage.environment())
                .envs([("DISPATCHER__LOG__FORMAT", format), ("DISPATCHER__ADMIN__LISTEN", "127.0.0.1:0")])
                .env("JOURNAL_STREAM", &stream)
                .stderr(file.try_clone().unwrap())
                .status();
            assert_eq!(status.unwrap().code(), Some(1));
            let log = std::fs::read_to_string(&path).unwrap();
            let line = log.lines().rfind(|line| line.contains("the daemon ends")).unwrap_or_else(|| panic!("{log}"));
            assert_eq!(line.starts_with('<'), !begins.is_empty(), "{line}");
            assert!(line.starts_with(begins), "{line}");
            assert_eq!(log.lines().all(|line| line.starts_with('<')), !begins.is_empty(), "{log}");
            file.set_len(0).unwrap();
            (&file).rewind().unwrap();
        }
    }
    stage.finish_without_tables();
}

#[tokio::test]
async fn what_waits_for_postgres_is_started_and_alive() {
    let (mut stage, manager) = (Stage::new().await, Manager::new());
    stage.migrate().await;
    stage.set("postgres.url", &format!("postgres://user@{}/x", free_address()));
    let process = manager.process(&stage);
    manager.hears("READY=1").await;
    manager.hears("STATUS=not ready: ").await;
    manager.hears("WATCHDOG=1").await;
    let (status, log) = process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    stage.finish_without_queues().await;
}

#[tokio::test]
async fn without_its_tables_it_never_says_that_it_is_ready() {
    let (stage, manager) = (Stage::new().await, Manager::new());
    let (status, log) = manager.process(&stage).ended().await;
    assert_eq!(status.code(), Some(1), "{log}");
    let mut buffer = [0; 4096];
    while let Ok(read) = manager.socket.try_recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..read]);
        assert!(!text.contains("READY=1"), "{text}");
    }
    stage.finish_without_tables();
}
