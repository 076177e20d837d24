//! Poison, floods and backlogs on one running daemon: it stays small, and other jobs keep their pace.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use dispatcher::simulator::{Account, Options, Rules, Simulator};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::daemon::Daemon;
use super::publisher::{Message, Publisher};
use super::services::Services;

/// The daemon may not hold more, whatever comes, in MiB.
pub const MOST_MIB: f64 = 200.0;
/// A job that nothing should hold up.
const BEAT: Duration = Duration::from_millis(100);
/// The longest that a part may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How much of everything.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// Messages of 10 MB.
    pub oversize: usize,
    /// Messages of JSON that is 10,000 levels deep.
    pub deep: usize,
    /// Repeats of one job.
    pub repeats: usize,
    /// Jobs for an account that sends 100 a second.
    pub backlog: usize,
    /// Jobs for an account that is frozen.
    pub parked: usize,
}

/// What one kind of pressure did.
#[derive(Clone, Debug)]
pub struct Part {
    /// What was pressed on it.
    pub what: &'static str,
    /// How many messages.
    pub messages: usize,
    /// Until the broker had confirmed all of them.
    pub published: Duration,
    /// Until all of them were dealt with, their publishing included.
    pub took: Duration,
    /// The most memory meanwhile.
    pub peak_mib: f64,
    /// Published → at the gateway for normal jobs of another account: half of them, 99 of 100, all of
    /// them within, in seconds.
    pub normal: [f64; 3],
    /// The same for bulk jobs, which stand in one queue with what presses.
    pub bulk: [f64; 3],
}

/// The daemon under pressure.
struct Press {
    services: Services,
    gateway: Simulator,
    daemon: Daemon,
    publisher: Publisher,
}

/// Presses, one kind after the other, and prints what each did. Everything that presses is `bulk`.
///
/// # Errors
/// When a service cannot be used, the daemon ends by itself, or something is never dealt with.
pub async fn press(load: &Load, log: &Path) -> anyhow::Result<Vec<Part>> {
    let services = Services::prepare("press").await?;
    let accounts = ["C1", "C2", "C3"].map(|id| Account::new(id, "key")).to_vec();
    let rules = Rules { per_second: 0, ..Rules::default() };
    let gateway = Simulator::start(Options { accounts, rules, ..Options::default() }).await?;
    gateway.set_account("C3", |account| account.frozen = true);
    let mut daemon = Daemon::start(&environment(&services, &gateway), log)?;
    daemon.ready().await?;
    let publisher = services.publisher();
    let mut press = Press { services, gateway, daemon, publisher };
    let parts = press.all(load).await;
    let Press { services, daemon, .. } = press;
    daemon.kill().await?;
    services.remove().await?;
    parts
}

impl Press {
    async fn all(&mut self, load: &Load) -> anyhow::Result<Vec<Part>> {
        let plan: [(&str, Vec<Message>, &str); 4] = [
            ("messages of 10 MB, or 10,000 levels deep", poison_of(load), "rejections"),
            ("repeats of one job", repeats_of(load.repeats), ""),
            ("a backlog of one slow account", jobs_of("slow", load.backlog), "jobs where account = 'slow'"),
            (
                "parked for one paused account",
                jobs_of("frozen", load.parked),
                "jobs where account = 'frozen' and wait_reason = 'account_paused'",
            ),
        ];
        let mut parts = Vec::new();
        for (what, messages, rows) in plan {
            if !messages.is_empty() {
                parts.push(self.part(what, messages, rows).await?);
            }
        }
        Ok(parts)
    }

    /// Publishes, and waits until `rows` of Postgres, or the count of repeats, show that all is dealt with.
    async fn part(&mut self, what: &'static str, messages: Vec<Message>, rows: &str) -> anyhow::Result<Part> {
        let wanted = messages.len();
        self.daemon.forget_peak()?;
        let (normal, bulk) = (Pulse::start(&self.services, "normal"), Pulse::start(&self.services, "bulk"));
        let begun = Instant::now();
        // A repeat repeats what is known.
        if let Some(first) = messages.first().filter(|_| rows.is_empty()) {
            self.publisher.publish(&[first]).await?;
        }
        self.publisher.publish(&messages.iter().collect::<Vec<_>>()).await?;
        let published = begun.elapsed();
        self.await_count(what, rows, wanted).await?;
        let took = begun.elapsed();
        let (normal, bulk) = (normal.end(&self.gateway).await?, bulk.end(&self.gateway).await?);
        let peak_mib = self.daemon.peak_mib()?;
        let part = Part { what, messages: wanted, published, took, peak_mib, normal, bulk };
        // At once: the next one may take minutes, or fail.
        println!("{part}");
        Ok(part)
    }

    async fn await_count(&mut self, what: &str, rows: &str, wanted: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            self.daemon.check_alive()?;
            let seen = match rows {
                "" => self.daemon.metric("dispatcher_duplicates_total").await? as i64,
                rows => self.services.count(rows).await?,
            };
            if seen >= wanted as i64 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{what}: {seen} of {wanted} were dealt with");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A job every now and then, of an account that nothing is wrong with.
struct Pulse {
    name: String,
    stop: oneshot::Sender<()>,
    beating: JoinHandle<anyhow::Result<HashMap<String, f64>>>,
}

impl Pulse {
    fn start(services: &Services, priority: &'static str) -> Pulse {
        let name = format!("pulse-{priority}-{:08x}", fastrand::u32(..));
        let (stop, stopped) = oneshot::channel();
        let beating = tokio::spawn(beat(services.publisher(), priority, name.clone(), stopped));
        Pulse { name, stop, beating }
    }

    /// Stops it, and tells how long its jobs took to the gateway.
    async fn end(self, gateway: &Simulator) -> anyhow::Result<[f64; 3]> {
        let _ = self.stop.send(());
        let published = self.beating.await??;
        let begun = Instant::now();
        loop {
            let log = gateway.submissions();
            let arrived = log.iter().filter(|submission| submission.content.starts_with(&self.name));
            let took = arrived.filter_map(|beat| Some(beat.at - published.get(&beat.content)?));
            let mut took: Vec<f64> = took.collect();
            if took.len() >= published.len() {
                took.sort_by(f64::total_cmp);
                let at = |share: f64| took.get((took.len() as f64 * share) as usize).or(took.last()).copied();
                return Ok([at(0.5), at(0.99), at(1.0)].map(Option::unwrap_or_default));
            }
            if begun.elapsed() > PATIENCE {
                bail!("{}: {} of {} jobs arrived", self.name, took.len(), published.len());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn beat(
    mut publisher: Publisher,
    priority: &'static str,
    name: String,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<HashMap<String, f64>> {
    let mut published = HashMap::new();
    let mut beats = tokio::time::interval(BEAT);
    for number in 0_u32.. {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = beats.tick() => {}
        }
        let text = format!("{name} {number}");
        let mobile = format!("138{:08}", fastrand::u32(..100_000_000));
        let body = json!({"id": text, "mobile": mobile, "content": text, "account": "other"});
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock")?;
        published.insert(text, now.as_secs_f64());
        publisher.publish(&[&Message::new(priority, &mobile, body.to_string())]).await?;
    }
    Ok(published)
}

fn poison_of(load: &Load) -> Vec<Message> {
    let large = vec![b'x'; 10_000_000];
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep = format!(r#"{{"id":"deep","mobile":"13900000001","content":"x","metadata":{{"a":{deep}}}}}"#);
    let message = |body: &[u8]| Message::new("bulk", "13900000001", body);
    let large = (0..load.oversize).map(|_| message(&large));
    large.chain((0..load.deep).map(|_| message(deep.as_bytes()))).collect()
}

fn repeats_of(count: usize) -> Vec<Message> {
    let body = json!({"id": "repeated", "mobile": "13900000002", "content": "again", "account": "other"}).to_string();
    vec![Message::new("bulk", "13900000002", body); count]
}

fn jobs_of(account: &str, count: usize) -> Vec<Message> {
    let one = |index: usize| {
        let mobile = format!("137{index:08}");
        let body = json!({"id": format!("{account}-{index}"), "mobile": mobile, "content": "x", "account": account});
        Message::new("bulk", &mobile, body.to_string())
    };
    (0..count).map(one).collect()
}

fn environment(services: &Services, gateway: &Simulator) -> Vec<(String, String)> {
    let mut settings = HashMap::from([
        ("default_account", "other".to_owned()),
        ("accounts.slow.rate", "100/s".to_owned()),
        ("accounts.other.rate", "1000/s".to_owned()),
        ("accounts.frozen.rate", "1000/s".to_owned()),
        ("gateway.submit_url", gateway.submit_url()),
    ]);
    for (id, key, name) in [
        ("accounts.slow.api_id", "accounts.slow.api_key", "C1"),
        ("accounts.other.api_id", "accounts.other.api_key", "C2"),
        ("accounts.frozen.api_id", "accounts.frozen.api_key", "C3"),
    ] {
        settings.insert(id, name.to_owned());
        settings.insert(key, "key".to_owned());
    }
    services.environment(settings)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Part { what, messages, published, took, peak_mib, normal, bulk } = self;
        let ms = |times: &[f64; 3]| times.map(|seconds| format!("{:.0}", seconds * 1_000.0)).join(" / ");
        write!(
            f,
            "  {messages:>9} {what}: published {:.1} s, done {:.1} s, peak {peak_mib:.0} MiB; \
             others p50 / p99 / most, ms: normal {}, bulk {}",
            published.as_secs_f64(),
            took.as_secs_f64(),
            ms(normal),
            ms(bulk),
        )
    }
}
