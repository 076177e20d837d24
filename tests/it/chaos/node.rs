//! A RabbitMQ of one test's own: one that may be killed, and whose alarms stop nobody else.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The ports that `services.sh` takes, in a row.
const PORTS: u16 = 7;

/// A node, started by the same script as the ones that tests share. It ends with this value.
pub struct Node {
    folder: TempDir,
    base: u16,
    /// Where it is.
    pub url: String,
}

impl Node {
    /// Takes some ten seconds.
    pub async fn start() -> Node {
        tokio::task::spawn_blocking(|| {
            let mut node = Node { folder: tempfile::tempdir().unwrap(), base: free_ports(), url: String::new() };
            node.run(&["up"]);
            let environment = node.run(&["env"]);
            let url = environment.lines().find_map(|line| line.strip_prefix("export AMQP_URL=")).unwrap();
            node.url = url.replace('\\', "");
            node
        })
        .await
        .unwrap()
    }

    /// SIGKILL, and a new start with what is on disk.
    pub async fn crash(self) -> Node {
        tokio::task::spawn_blocking(move || {
            let pid = std::fs::read_to_string(self.folder.path().join("rabbitmq/node.pid")).unwrap();
            let pid = pid.split_whitespace().next().unwrap();
            assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
            self.run(&["up"]);
            self
        })
        .await
        .unwrap()
    }

    /// `rabbitmqctl`.
    pub async fn control(self, arguments: &'static [&'static str]) -> Node {
        tokio::task::spawn_blocking(move || {
            self.run(&[&["rabbitmqctl"], arguments].concat());
            self
        })
        .await
        .unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        services(arguments, self.folder.path(), self.base, "DATABASE_URL")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run(&["down"]);
            return;
        }
        // A second panic would hide the first.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(&["down"])));
    }
}

/// Runs the script, which keeps all in `folder` and takes ports from `base` on, and returns what it prints. It leaves
/// alone the kind of service whose variable is `given`.
pub fn services(arguments: &[&str], folder: &Path, base: u16, given: &str) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/local/services.sh");
    let mut command = Command::new("bash");
    command.arg(script).args(arguments).env_remove("AMQP_URL").env_remove("DATABASE_URL").env(given, "not ours");
    command.env("LOCAL_DIR", folder).env("LOCAL_PORT_BASE", base.to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Below the range from which the system takes ports for others.
pub fn free_ports() -> u16 {
    let free = |base: &u16| (*base..base + PORTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    std::iter::repeat_with(|| fastrand::u16(20_000..27_000)).find(free).unwrap()
}
