//! The composition root: the only file that knows every module. [`App::start`] builds the daemon
//! from a checked configuration, [`App::stop`] takes it down in reverse; signals are [`run`]'s.

mod api;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::broker::{JobPublisher, JobSource};
use crate::config::{self, Config};
use crate::dispatch::health::{Health, Part};
use crate::dispatch::metrics::Metrics;
use crate::dispatch::ports::System;
use crate::dispatch::settings::{AccountSettings, Settings, Tempo};
use crate::dispatch::{CLAIM_MARGIN, Ports, Shard};
use crate::domain::message::Rules;
use crate::domain::pace::account::AccountPace;
use crate::domain::pace::bucket::Bucket;
use crate::domain::retry::RetryPolicy;
use crate::gateway::{Accounts, Client, ClientOptions, Credentials};
use crate::store::{self, MigrationError, ShardLease, Store};
use crate::web::{self, Api, Status};

/// Between two looks at Postgres.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer counts as none.
const LIMIT: Duration = Duration::from_secs(5);

/// A running daemon.
pub struct App {
    admin: SocketAddr,
    shard: Shard,
    publisher: Arc<JobPublisher>,
    /// For the API alone: what it publishes must not hold up releases.
    api_publisher: Arc<JobPublisher>,
    store: Store,
    watch: JoinHandle<()>,
    watch_tokens: JoinHandle<()>,
    web: JoinHandle<()>,
    close_web: oneshot::Sender<()>,
}

/// What the admin listener shows.
struct Shown {
    health: Arc<Health>,
    metrics: Metrics,
}

impl Status for Shown {
    fn ready(&self) -> Result<(), Vec<String>> {
        let reasons = self.health.reasons();
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

impl App {
    /// Starts the daemon. With RabbitMQ or Postgres out of reach it keeps trying; `readyz` says so
    /// meanwhile. Returns once the schema is known to be right; `migrate` makes it so.
    ///
    /// # Errors
    /// When the admin address cannot be bound, the gateway client cannot be set up, or the database
    /// lacks its migrations.
    pub async fn start(config: &Config, migrate: bool, tempo: Tempo) -> anyhow::Result<App> {
        let metrics = Metrics::new();
        let health = Arc::new(Health::starting());
        let store = open_store(config)?;
        let gateway = gateway(config)?;
        let admin = config.admin.listen;
        let listener = TcpListener::bind(admin).await.with_context(|| {
            format!("admin.listen: {admin} cannot be bound: is another daemon running? choose another port")
        })?;
        let admin = listener.local_addr()?;
        let shown = Arc::new(Shown { health: health.clone(), metrics: metrics.clone() });
        let settings = settings(config, tempo);
        let api_publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let daemon = api::Daemon::new(config, store.clone(), api_publisher.clone(), settings.rules.clone());
        let api = Api { backend: Arc::new(daemon), tokens: Arc::new(api::tokens(config)) };
        let tokens = api.tokens.clone();
        let watch_tokens = tokio::spawn(async move { tokens.watch().await });
        let (close_web, closed) = oneshot::channel::<()>();
        let web = tokio::spawn(web::serve(listener, shown, api, closed));
        prepare(config, &store, migrate, &health).await?;
        let watch = tokio::spawn(watch_postgres(config.clone(), store.clone(), health.clone()));
        let publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let store_port = Arc::new(store.clone());
        let ports = Ports {
            ledger: store_port.clone(),
            upkeep: store_port,
            publisher: publisher.clone(),
            source: Arc::new(JobSource::new(&config.rabbitmq.url, &config.rabbitmq.prefix, config.rabbitmq.prefetch)),
            lease: Arc::new(ShardLease::new(&config.postgres.url, &config.rabbitmq.prefix)),
            gateway: Arc::new(gateway),
            chance: Arc::new(System),
        };
        let shard = Shard::start(settings, ports, metrics, health);
        Ok(App { admin, shard, publisher, api_publisher, store, watch, watch_tokens, web, close_web })
    }

    /// Where the admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Drains and ends everything, the last started first. Returns the attempts that were still on
    /// the wire at the deadline.
    pub async fn stop(self) -> usize {
        let unfinished = self.shard.stop().await;
        self.publisher.close().await;
        self.watch.abort();
        let _ = self.close_web.send(());
        let _ = self.web.await;
        self.watch_tokens.abort();
        self.api_publisher.close().await;
        // A batch that Postgres never took may hold a connection: do not wait for it.
        let _ = tokio::time::timeout(LIMIT, self.store.close()).await;
        unfinished
    }
}

/// Runs the daemon until SIGTERM or Ctrl-C.
///
/// # Errors
/// When it cannot start: the address is taken, or the database lacks its migrations.
pub async fn run(config: Config, migrate: bool) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let app = tokio::select! {
        started = App::start(&config, migrate, Tempo::default()) => started?,
        () = &mut stop => return Ok(()),
    };
    info!(version = env!("CARGO_PKG_VERSION"), admin = %app.admin(), "dispatcher runs");
    stop.await;
    info!("told to stop");
    match app.stop().await {
        0 => info!("all that was on the wire has finished: goodbye"),
        left => warn!(left, "attempts were still on the wire: they will be settled as unknown"),
    }
    Ok(())
}

/// Waits for Postgres, and makes sure of the schema.
async fn prepare(config: &Config, store: &Store, migrate: bool, health: &Health) -> anyhow::Result<()> {
    let mut announced = false;
    loop {
        // Asked first: the pool would say only that it waited.
        let reason = match probe(config).await {
            Ok(()) => match schema(store, migrate).await {
                Ok(()) => return Ok(()),
                Err(MigrationError::Ledger(error)) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
            Err(reason) => reason,
        };
        health.down(Part::Postgres, reason.clone());
        if !announced {
            error!(reason, "waiting for Postgres");
            announced = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn schema(store: &Store, migrate: bool) -> Result<(), MigrationError> {
    if migrate { store.migrate().await } else { store.check_migrations().await }
}

/// Why Postgres cannot be reached, in words.
async fn probe(config: &Config) -> Result<(), String> {
    match tokio::time::timeout(LIMIT, store::probe(&config.postgres.url)).await {
        Ok(probed) => probed.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// `readyz` says at once when Postgres is away, even while no job is under way.
async fn watch_postgres(config: Config, store: Store, health: Arc<Health>) {
    loop {
        let ping = store.clone();
        // Spawned, because a query that is cancelled half-way spoils its connection.
        let answer = tokio::time::timeout(LIMIT, tokio::spawn(async move { ping.ping().await })).await;
        match answer {
            Ok(Ok(Ok(()))) => {
                if health.up(Part::Postgres) {
                    info!("Postgres is reached");
                }
            }
            _ => match probe(&config).await {
                Err(reason) => note_postgres(&health, reason),
                Ok(()) => note_postgres(&health, "it is reached, but the daemon's connections give no answer".into()),
            },
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn note_postgres(health: &Health, reason: String) {
    if health.down(Part::Postgres, reason.clone()) {
        warn!(reason, "Postgres is away");
    }
}

fn open_store(config: &Config) -> anyhow::Result<Store> {
    let lease = config.gateway.timeout + CLAIM_MARGIN;
    Ok(Store::new(&config.postgres.url, config.postgres.max_connections, lease)?)
}

fn gateway(config: &Config) -> anyhow::Result<Accounts> {
    let max_idle = config.accounts.values().map(|account| account.max_in_flight as usize).sum();
    let client = Client::new(&client_options(&config.gateway, max_idle))?;
    let credentials = config.accounts.iter().map(|(name, account)| {
        let api_key = account.api_key.clone().with_context(|| format!("accounts.{name}.api_key is missing"))?;
        Ok(Credentials { api_id: account.api_id.clone(), api_key, auth: account.auth })
    });
    Ok(Accounts::new(client, credentials.collect::<anyhow::Result<_>>()?))
}

/// How the gateway is spoken to, with so many idle connections at most.
pub(crate) fn client_options(gateway: &config::Gateway, max_idle: usize) -> ClientOptions {
    ClientOptions {
        submit_url: gateway.submit_url.to_string(),
        balance_url: gateway.balance_url.to_string(),
        method: gateway.method,
        format: gateway.format,
        timeout: gateway.timeout,
        connect_timeout: gateway.connect_timeout,
        max_idle,
    }
}

fn settings(config: &Config, tempo: Tempo) -> Settings {
    let index = |name: &String| config.accounts.keys().position(|other| other == name);
    let accounts = config.accounts.iter().map(|(name, account)| AccountSettings {
        name: name.clone(),
        pace: AccountPace {
            bucket: Bucket { period: account.rate.period(), burst: account.burst },
            max_in_flight: account.max_in_flight,
        },
        fallback: account.fallback.as_ref().and_then(index),
    });
    Settings {
        rules: Rules {
            content_max: config.gateway.content_max,
            default_account: config.default_account_name().unwrap_or_default().to_owned(),
            accounts: config.accounts.keys().cloned().collect::<BTreeSet<_>>(),
            on_unknown: config.in_doubt.on_unknown,
        },
        accounts: accounts.collect(),
        mobile: Bucket { period: config.limits.mobile.period(), burst: config.limits.mobile_burst },
        retry: RetryPolicy::new(config.retry.max_attempts, config.retry.initial, config.retry.max),
        codes: config.codes.clone(),
        retention: config.retention.jobs,
        drain_timeout: config.drain_timeout,
        tempo,
    }
}
