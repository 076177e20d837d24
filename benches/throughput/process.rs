//! Child processes, and what they cost, as `/proc` tells it (Linux only).

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// `/proc` counts CPU time in hundredths of a second on every Linux (`USER_HZ`).
const TICK: f64 = 0.01;
/// A child that has not ended so long after SIGTERM is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A child process, killed when dropped.
pub struct Process {
    name: &'static str,
    child: Child,
    pid: u32,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    /// Starts `command`, whose standard output is read by [`Process::line`].
    pub fn talking(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut process = Self::start(name, command.stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("no standard output")?;
        process.lines = Some(BufReader::new(stdout).lines());
        Ok(process)
    }

    /// Starts `command`, whose output goes where the command says.
    pub fn start(name: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot start the {name}"))?;
        let pid = child.id().with_context(|| format!("the {name} ended at once"))?;
        Ok(Process { name, child, pid, lines: None })
    }

    /// The next line of its standard output.
    pub async fn line(&mut self) -> anyhow::Result<String> {
        let lines = self.lines.as_mut().context("its output is not read")?;
        lines.next_line().await?.with_context(|| format!("the {} ended", self.name))
    }

    /// An error if it has ended by itself.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the {} ended by itself: {status}", self.name),
            None => Ok(()),
        }
    }

    /// CPU seconds that all its threads have used, in user and kernel mode.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name, in brackets, may hold anything; what follows it are numbers (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat cannot be read")?;
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() * TICK)
    }

    /// The most memory it has ever held, in MiB.
    pub fn peak_mib(&self) -> anyhow::Result<f64> {
        status_mib(self.pid, "VmHWM:")
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let kill = format!("kill -TERM {}", self.pid);
        Command::new("sh").args(["-c", &kill]).status().await?;
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => bail!("the {} ended badly: {:?}", self.name, status?),
            Err(_) => bail!("the {} did not end within {} s", self.name, PATIENCE.as_secs()),
        }
    }
}

/// A size of `/proc/PID/status`, in MiB.
pub fn status_mib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.with_context(|| format!("/proc/PID/status has no {field}"))? / 1024.0)
}

/// CPU seconds that the whole machine has been busy since it started.
pub fn machine_cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq …: all but idle and waiting for disks.
    let busy = ticks.iter().take(7).sum::<f64>() - ticks.iter().skip(3).take(2).sum::<f64>();
    Ok(busy * TICK)
}
