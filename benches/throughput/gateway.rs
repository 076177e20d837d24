//! The simulated gateway: `dispatcher simulate` in a process of its own.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use crate::DISPATCHER;
use crate::process::Process;

/// The account that the simulator knows by default.
pub const API_ID: &str = "C00000001";
/// Its key.
pub const API_KEY: &str = "simulated-key";

/// A running simulator.
pub struct Gateway {
    process: Process,
    http: reqwest::Client,
    base: String,
}

/// What it has taken so far.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    /// Requests read.
    pub submissions: u64,
    /// Those answered 2.
    pub accepted: u64,
}

/// One request, as it was read.
#[derive(Deserialize)]
pub struct Seen {
    /// Unix seconds.
    pub at: f64,
    /// The number.
    pub mobile: String,
}

impl Gateway {
    /// A simulator that answers after `latency`, without limits of its own, and remembers the last
    /// `log` requests.
    pub async fn start(latency: Duration, log: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(DISPATCHER);
        command.args(["simulate", "--listen", "127.0.0.1:0", "--per-second", "0", "--log", &log.to_string()]);
        if !latency.is_zero() {
            command.args(["--latency", &format!("{}ms", latency.as_millis())]);
        }
        let mut process = Process::talking("simulator", command.env("SIMULATOR_API_KEY", API_KEY))?;
        let line = process.line().await?;
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let base = url.and_then(|url| url.split_once("/webservice")).context("the simulator does not name its URL")?;
        let http = http_client()?;
        Ok(Gateway { process, http, base: base.0.to_owned() })
    }

    /// Where to submit.
    pub fn submit_url(&self) -> String {
        format!("{}/webservice/sms.php?method=Submit", self.base)
    }

    /// What it has taken since its start.
    pub async fn taken(&self) -> anyhow::Result<Taken> {
        let page = self.http.get(format!("{}/_sim/stats", self.base)).send().await?.bytes().await?;
        let stats: serde_json::Value = serde_json::from_slice(&page)?;
        let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        Ok(Taken { submissions: count(&stats["submissions"]), accepted: count(&stats["codes"]["2"]) })
    }

    /// The requests that it remembers.
    pub async fn seen(&self) -> anyhow::Result<Vec<Seen>> {
        let page = self.http.get(format!("{}/_sim/log", self.base)).send().await?.text().await?;
        page.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Ends it.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// A client for pages on this machine.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    dispatcher::tls::install();
    Ok(reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10)).build()?)
}
