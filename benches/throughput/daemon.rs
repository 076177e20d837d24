//! The daemon under test: the built binary, `dispatcher run`, with a configuration of its own.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::DISPATCHER;
use crate::gateway::{API_ID, API_KEY, Gateway, http_client};
use crate::process::Process;
use crate::services::Services;

/// Requests on the wire at a time, here and in the yardsticks.
pub const IN_FLIGHT: u16 = 256;
/// The longest that a start may take.
const START: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A running daemon.
pub struct Daemon {
    pub process: Process,
    http: reqwest::Client,
    admin: String,
}

impl Daemon {
    /// Starts it; `directory` takes its configuration and its log.
    pub fn start(services: &Services, gateway: &Gateway, directory: &Path) -> anyhow::Result<Self> {
        // A port that was free just now; nothing else on this machine is likely to take it.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let path = directory.join("dispatcher.toml");
        std::fs::write(&path, configuration(services, gateway, &admin.to_string()))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(directory.join("dispatcher.log"))?;
        let mut command = Command::new(DISPATCHER);
        command.arg("--config").arg(&path).args(["run", "--migrate"]).stdout(log.try_clone()?).stderr(log);
        let process = Process::start("daemon", &mut command)?;
        Ok(Daemon { process, http: http_client()?, admin: format!("http://{admin}") })
    }

    /// Waits until it consumes.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while Instant::now() < end {
            self.process.check_alive()?;
            let answer = self.http.get(format!("{}/readyz", self.admin)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        bail!("the daemon is not ready after {} s", START.as_secs())
    }

    /// Attempts whose outcome is committed.
    pub async fn settled(&self) -> anyhow::Result<u64> {
        Ok(self.sum("dispatcher_submissions_total").await? as u64)
    }

    /// Group commits so far.
    pub async fn batches(&self) -> anyhow::Result<f64> {
        self.sum("dispatcher_postgres_batch_rows_count").await
    }

    /// All series of one name, added up.
    async fn sum(&self, name: &str) -> anyhow::Result<f64> {
        let page = self.http.get(format!("{}/metrics", self.admin)).send().await?.text().await?;
        let mut sum = 0.0;
        for line in page.lines().filter(|line| line.starts_with(name)) {
            let (_, value) = line.rsplit_once(' ').context("a metric without a value")?;
            sum += value.parse::<f64>()?;
        }
        Ok(sum)
    }
}

/// Limits that count every job but hold none up.
fn configuration(services: &Services, gateway: &Gateway, admin: &str) -> String {
    format!(
        r#"
[rabbitmq]
url = "{amqp}"
prefix = "{prefix}"
[postgres]
url = "{database}"
[gateway]
submit_url = "{submit}"
[accounts.main]
api_id = "{API_ID}"
api_key = "{API_KEY}"
rate = "1000000/s"
max_in_flight = {IN_FLIGHT}
[limits]
mobile = "1/s"
[admin]
listen = "{admin}"
"#,
        amqp = services.amqp_url(),
        prefix = services.prefix(),
        database = services.database_url(),
        submit = gateway.submit_url(),
    )
}
