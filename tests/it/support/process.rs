//! The built binary as a child process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::eventually;
use super::metrics::get;

/// `dispatcher run` as a process; killed with the test.
pub struct Process {
    pub admin: SocketAddr,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// Starts it with this configuration, which must name `admin` as its admin listener.
    pub fn run(environment: &[(String, String)], admin: SocketAddr) -> Process {
        Process::run_with(Path::new("/dev/null"), environment, admin)
    }

    /// The same, with a configuration file under the environment.
    pub fn run_with(config: &Path, environment: &[(String, String)], admin: SocketAddr) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
            .arg("--config")
            .arg(config)
            .arg("run")
            .envs(environment.iter().cloned())
            .env("DISPATCHER__ADMIN__LISTEN", admin.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let written = log.clone();
        let reader = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Process { admin, child, log, reader }
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        eventually("the process is ready", async || match get(self.admin, "/readyz").await {
            Some((200, _)) => Ok(()),
            other => Err((other, self.log())),
        })
        .await;
    }

    /// All that it has written to stderr.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// SIGKILL: it gets no time for anything.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM: it begins to end.
    pub async fn tell_to_stop(&self) {
        self.signal("-TERM").await;
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("the process still runs").to_string();
        let told = Command::new("kill").args([signal, &pid]).status().await.unwrap();
        assert!(told.success());
    }

    /// SIGTERM: how it ended, and all that it wrote.
    pub async fn terminate(self) -> (ExitStatus, String) {
        self.tell_to_stop().await;
        self.ended().await
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log())).unwrap();
        let _ = (&mut self.reader).await;
        (status, self.log())
    }
}

/// An address of the loopback interface where nobody listens now, and that no outgoing connection of another
/// test takes meanwhile: its port is below those that the system gives out by itself. No other test of this
/// process gets it.
pub fn free_address() -> SocketAddr {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two processes that run tests begin at different places.
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..)));
    std::iter::repeat_with(|| 10_000 + next.fetch_add(1, Ordering::Relaxed) % 10_000)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| std::net::TcpListener::bind(address).is_ok())
        .unwrap()
}
