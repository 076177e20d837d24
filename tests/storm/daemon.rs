//! The built daemon as a child process.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

/// A start or an end takes no longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// `dispatcher run`; killed when dropped.
pub struct Daemon {
    child: Child,
    pid: u32,
    admin: String,
}

impl Daemon {
    /// Starts it with this configuration; what it says is appended to `log`.
    pub fn start(environment: &[(String, String)], log: &Path) -> anyhow::Result<Self> {
        // A port that was free just now; nothing else on this machine is likely to take it.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_dispatcher"))
            .args(["--config", "/dev/null", "run", "--migrate"])
            .envs(environment.iter().cloned())
            .env("DISPATCHER__ADMIN__LISTEN", admin.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the daemon does not start")?;
        let pid = child.id().context("the daemon ended at once")?;
        Ok(Daemon { child, pid, admin: format!("http://{admin}") })
    }

    /// An error if it has ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the daemon ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// Waits until it consumes.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.check_alive()?;
            if matches!(self.get("/readyz").await, Ok((200, _))) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the daemon is not ready after {} s", PATIENCE.as_secs())
    }

    /// The sum of all series of a metric.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, page) = self.get("/metrics").await?;
        let named = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        Ok(named.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        dispatcher::tls::install();
        let answer = reqwest::get(format!("{}{path}", self.admin)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// SIGKILL: it gets no time for anything. An error if it was dead already.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.check_alive()?;
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.check_alive()?;
        Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("the daemon ended badly: {:?}", status?),
            Err(_) => bail!("the daemon did not end within {} s", PATIENCE.as_secs()),
        }
    }

    /// From now on only what it holds from now on counts for [`Daemon::peak_mib`].
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5")?)
    }

    /// The most memory that it has held, in MiB, as Linux tells.
    pub fn peak_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("/proc/PID/status has no VmHWM")? / 1024.0)
    }
}
