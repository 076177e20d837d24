//! `dispatcher health`: asks the daemon beside it, for containers that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::output;
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  dispatcher health
  dispatcher health --ready

Asks /healthz or /readyz at admin.listen. Exit 0: yes. Exit 1: no, or no answer within 5 s.";

/// For connecting and the whole answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks the daemon on this machine whether it lives.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthArgs {
    /// Ask whether it is ready, too: RabbitMQ, Postgres and the consumer
    #[arg(long)]
    ready: bool,
}

/// Asks once.
///
/// # Errors
/// When the daemon does not answer, or says no.
pub(super) async fn run(args: HealthArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let address = reachable(config.admin.listen);
    let answered = tokio::time::timeout(LIMIT, ask(address, path)).await;
    let answer = answered.with_context(|| format!("{address}{path}: no answer within {} s", LIMIT.as_secs()))?;
    let (status, body) = answer.with_context(|| format!("{address}{path}: is the daemon running?"))?;
    if status != "200" {
        bail!("{address}{path} answers {status}: {}", body.trim().replace('\n', "; "));
    }
    match as_json {
        true => output::json(&json!({ "healthy": true, "said": body.trim() })),
        false => output::line(body.trim()),
    }
}

/// What listens everywhere is asked on the loopback interface.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Status and body of a GET. HTTP/1.0: the answer ends with the connection, and is not chunked.
async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<(String, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(65_536).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?;
    Ok((status.to_owned(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_at_home() {
        for (listen, asked) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:9464", "[::1]:9464"), ("10.1.2.3:80", "10.1.2.3:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
