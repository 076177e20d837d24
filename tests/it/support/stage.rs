//! One test's world: a database, a queue prefix, a simulated gateway, and the real daemon in this
//! process on a free port. All of it is gone in the end, also when the test fails.
//!
//! The daemon has a runtime of its own. A test that fails stops its own runtime, and with it the daemon
//! half-way through a handshake with Postgres, which then could not drop the database for a minute.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dispatcher::app::App;
use dispatcher::config::{self, Config, Needs};
use dispatcher::dispatch::settings::Tempo;
use dispatcher::simulator::{Options, Rules, Simulator, Submission};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::broker::{Message, TestBroker};
use super::db::{JobRow, TestDb};
use super::metrics::{Scrape, get};
use super::process::{Process, free_address};
use super::{becomes, eventually};

/// See the module.
pub struct Stage {
    pub db: TestDb,
    pub broker: TestBroker,
    pub gateway: Simulator,
    /// How often the daemon in this process does its duties.
    pub tempo: Tempo,
    settings: BTreeMap<String, String>,
    daemon: Option<Daemon>,
    finished: bool,
}

struct Daemon {
    app: Option<App>,
    runtime: Option<Runtime>,
}

impl Daemon {
    async fn start(config: Config, tempo: Tempo) -> Daemon {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let app = runtime.spawn(async move { App::start(&config, true, tempo).await }).await.unwrap().unwrap();
        Daemon { app: Some(app), runtime: Some(runtime) }
    }

    fn admin(&self) -> SocketAddr {
        self.app.as_ref().expect("it runs").admin()
    }

    /// Returns the attempts that were left on the wire.
    async fn stop(mut self) -> usize {
        let (app, runtime) = (self.app.take().expect("it runs"), self.runtime.as_ref().expect("it runs"));
        runtime.spawn(app.stop()).await.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.app.take());
        if let Some(runtime) = self.runtime.take() {
            // A thread that belongs to a runtime may not wait for another one.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join();
            ended.expect("the daemon's runtime ends");
        }
    }
}

/// A gateway without limits of its own.
pub fn lenient() -> Options {
    Options { rules: Rules { per_second: 0, ..Rules::default() }, ..Options::default() }
}

/// Duties that tests need not wait for.
fn brisk() -> Tempo {
    Tempo {
        release: Duration::from_millis(50),
        expire: Duration::from_millis(100),
        reclaim: Duration::from_millis(100),
        accounts: Duration::from_millis(50),
        probe: Duration::from_millis(300),
        gauges: Duration::from_millis(100),
        // Tests count balance queries: those that they ask for.
        balance: Duration::from_secs(3_600),
        ..Tempo::default()
    }
}

impl Stage {
    /// With a gateway that takes all; the daemon is started later.
    pub async fn new() -> Stage {
        Stage::with(lenient()).await
    }

    /// With this gateway. Each of its accounts is configured under the name `main`, `a1`, `a2`, … in
    /// order. The limits are far away: what tests one sets it.
    pub async fn with(options: Options) -> Stage {
        Stage::on(TestBroker::connect().await, options).await
    }

    /// The same, with a broker of one's own.
    pub async fn on(broker: TestBroker, options: Options) -> Stage {
        Stage::of(broker, TestDb::create().await, options).await
    }

    /// The same, with a database of one's own too.
    pub async fn of(broker: TestBroker, db: TestDb, options: Options) -> Stage {
        let accounts = options.accounts.clone();
        let gateway = Simulator::start(options).await.unwrap();
        let settings = BTreeMap::new();
        let mut stage = Stage { db, broker, gateway, tempo: brisk(), settings, daemon: None, finished: false };
        for (index, account) in accounts.iter().enumerate() {
            let name = if index == 0 { "main".to_owned() } else { format!("a{index}") };
            stage.set(&format!("accounts.{name}.api_id"), &account.id);
            stage.set(&format!("accounts.{name}.api_key"), &account.key);
            stage.set(&format!("accounts.{name}.rate"), "100000/s");
            stage.set(&format!("accounts.{name}.burst"), "1000");
        }
        let (amqp, postgres) = (stage.broker.url.clone(), stage.db.url.clone());
        let (prefix, submit) = (stage.broker.prefix.clone(), stage.gateway.submit_url());
        for (key, value) in [
            ("default_account", "main"),
            ("rabbitmq.url", &amqp),
            ("rabbitmq.prefix", &prefix),
            ("postgres.url", &postgres),
            ("gateway.submit_url", &submit),
            ("limits.mobile", "1000/s"),
            ("limits.mobile_burst", "100"),
            ("admin.listen", "127.0.0.1:0"),
        ] {
            stage.set(key, value);
        }
        stage
    }

    /// Sets a key of the configuration for the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    /// The configuration as environment variables.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variable = |key: &str| format!("DISPATCHER__{}", key.to_uppercase().replace('.', "__"));
        self.settings.iter().map(|(key, value)| (variable(key), value.clone())).collect()
    }

    fn config(&self) -> Config {
        let file = std::path::Path::new("/dev/null");
        config::load(Some(file), self.environment().into_iter(), Needs::Secrets).unwrap()
    }

    /// Starts the daemon in this process, and waits until it is ready.
    pub async fn start(&mut self) {
        self.launch().await;
        let admin = self.admin();
        becomes("the daemon is ready", Some((200, "ready\n".to_owned())), async || get(admin, "/readyz").await).await;
    }

    /// Starts the daemon in this process where it may never be ready: something that it needs is down.
    pub async fn launch(&mut self) {
        assert!(self.daemon.is_none(), "it runs already");
        self.daemon = Some(Daemon::start(self.config(), self.tempo).await);
    }

    /// Stops the daemon in this process: what is on the wire finishes.
    pub async fn stop(&mut self) {
        let unfinished = self.daemon.take().expect("it runs").stop().await;
        assert_eq!(unfinished, 0, "everything on the wire finishes");
    }

    /// Creates the tables without a daemon that would send.
    pub async fn migrate(&self) {
        let url = &self.config().postgres.url;
        let store = dispatcher::store::Store::new(url, 4, Duration::from_secs(1)).unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    }

    /// Starts the built binary instead.
    pub fn process(&self) -> Process {
        Process::run(&self.environment(), free_address())
    }

    /// Publishes jobs, and returns when the broker has them.
    pub async fn publish<'a>(&self, priority: &str, jobs: impl IntoIterator<Item = &'a Value>) {
        let messages: Vec<Message> = jobs.into_iter().map(|job| Message::job(priority, job)).collect();
        self.broker.publish(&messages).await;
    }

    /// Waits until the jobs are in these states and no others: `accepted 3, waiting/retry 1`.
    pub async fn states(&self, wanted: &str) {
        becomes("the states of the jobs", wanted.to_owned(), async || self.db.states().await).await;
    }

    /// Waits until the job of that id satisfies `is`, and returns it.
    pub async fn job(&self, id: &str, is: impl Fn(&JobRow) -> bool) -> JobRow {
        eventually(&format!("job {id}"), async || match self.db.job(id).await {
            Some(job) if is(&job) => Ok(job),
            other => Err(other),
        })
        .await
    }

    /// Waits until the job of that id is in this state, and returns it.
    pub async fn settled(&self, id: &str, state: &str) -> JobRow {
        self.job(id, |job| job.state == state).await
    }

    /// Tasks of the daemon that have not ended.
    pub fn tasks(&self) -> usize {
        let runtime = self.daemon.as_ref().and_then(|daemon| daemon.runtime.as_ref());
        runtime.expect("it runs").metrics().num_alive_tasks()
    }

    /// Where the daemon in this process answers.
    pub fn admin(&self) -> SocketAddr {
        self.daemon.as_ref().expect("it runs").admin()
    }

    /// What the daemon's `/readyz` says now.
    pub async fn ready(&self) -> Option<(u16, String)> {
        get(self.daemon.as_ref().expect("it runs").admin(), "/readyz").await
    }

    /// Waits until a metric has this value: see [`Scrape::sum`].
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        becomes(name, wanted, async || self.scrape().await.sum(name, labels)).await;
    }

    /// What the daemon's `/metrics` says now.
    pub async fn scrape(&self) -> Scrape {
        Scrape::of(self.admin()).await
    }

    /// Waits until the gateway has read so many submits, and returns them.
    pub async fn submissions(&self, count: usize) -> Vec<Submission> {
        eventually("submits at the gateway", async || {
            let submissions = self.gateway.submissions();
            if submissions.len() >= count { Ok(submissions) } else { Err(submissions.len()) }
        })
        .await
    }

    /// Waits until repeats that still stand in a queue or in memory are settled: a job that is published
    /// now is sent after them.
    pub async fn flush(&self, priority: &str) {
        let last = super::job(&format!("last-{priority}"), "13700000000");
        self.publish(priority, [&last]).await;
        self.settled(&format!("last-{priority}"), "accepted").await;
    }

    /// The end of a test: stops the daemon and makes sure that nothing is left claimed.
    pub async fn finish_with_backlog(mut self) {
        if self.daemon.is_some() {
            self.stop().await;
        }
        assert_eq!(self.db.count("jobs where state = 'submitting'").await, 0, "no job is left claimed");
        assert_eq!(self.db.count("attempts where outcome is null").await, 0, "no attempt is left open");
        self.finished = true;
    }

    /// The same, where no daemon has declared the queues.
    pub async fn finish_without_queues(self) {
        self.finish_with_backlog().await;
    }

    /// The same, where there are no tables either.
    pub fn finish_without_tables(mut self) {
        self.finished = true;
    }

    /// The same, where nothing may be left in the queues either.
    pub async fn finish(mut self) {
        if self.daemon.is_some() {
            self.stop().await;
        }
        becomes("the queues are empty", 0, async || self.broker.backlog().await).await;
        self.finish_with_backlog().await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.daemon.take());
        assert!(self.finished || std::thread::panicking(), "a test must end with finish()");
    }
}
