//! The composition root: the only file that knows every module. [`App::start`] builds the daemon
//! from a checked configuration, [`App::stop`] takes it down in reverse; signals are [`run`]'s.

mod api;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::broker::{EventPublisher, JobPublisher, JobSource, QueueWatch};
use crate::config::{self, Config};
use crate::dispatch::health::{Health, Part};
use crate::dispatch::inbox::Inbox;
use crate::dispatch::metrics::Metrics;
use crate::dispatch::ports::System;
use crate::dispatch::settings::{AccountSettings, Settings, Tempo};
use crate::dispatch::{CLAIM_MARGIN, Ports, Shard};
use crate::domain::message::Rules;
use crate::domain::pace::account::AccountPace;
use crate::domain::pace::bucket::Bucket;
use crate::domain::retry::RetryPolicy;
use crate::domain::uplink::OptOut;
use crate::gateway::{Accounts, Client, ClientOptions, Credentials};
use crate::store::{self, MigrationError, ShardLease, Store};
use crate::systemd::{self, Vital};
use crate::telemetry;
use crate::web::{self, Api, Callbacks, Status};

/// Between two looks at Postgres.
const LOOK: Duration = Duration::from_secs(2);
/// An answer that takes longer counts as none.
const LIMIT: Duration = Duration::from_secs(5);

/// A running daemon.
pub struct App {
    config: Config,
    tempo: Tempo,
    admin: Listening,
    callbacks: Option<Listening>,
    /// None only while [`App::reload`] puts another in its place.
    shard: Option<Shard>,
    ports: Ports,
    metrics: Metrics,
    health: Arc<Health>,
    publisher: Arc<JobPublisher>,
    announcer: Arc<EventPublisher>,
    /// For the API alone: what it publishes must not hold up releases.
    api_publisher: Arc<JobPublisher>,
    store: Store,
    watch: JoinHandle<()>,
    watch_tokens: JoinHandle<()>,
    queues: Arc<QueueWatch>,
    count: JoinHandle<()>,
    vital: Vital,
    beat: JoinHandle<()>,
}

/// A listener of ours.
struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
    close: oneshot::Sender<()>,
}

impl Listening {
    /// Binds `address`, the value of `key`, and serves it until it is closed.
    async fn start<S: Future<Output = ()> + Send + 'static>(
        key: &str,
        address: SocketAddr,
        serve: impl FnOnce(TcpListener, oneshot::Receiver<()>) -> S,
    ) -> anyhow::Result<Listening> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("{key}: {address} cannot be bound: is another daemon running? choose another port")
        })?;
        let address = listener.local_addr()?;
        let (close, closed) = oneshot::channel::<()>();
        Ok(Listening { address, task: tokio::spawn(serve(listener, closed)), close })
    }

    /// What is being answered may finish, for a few seconds.
    async fn stop(self) {
        let _ = self.close.send(());
        let _ = self.task.await;
    }
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
        metrics.begin_accounts(config.accounts.keys().map(String::as_str));
        metrics.callbacks_enabled.set(i64::from(config.callbacks.secret.is_some()));
        let health = Arc::new(Health::starting());
        let store = open_store(config)?;
        let gateway = gateway(config)?;
        let shown = Arc::new(Shown { health: health.clone(), metrics: metrics.clone() });
        let api_publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let daemon = api::Daemon::new(config, store.clone(), api_publisher.clone(), settings(config, tempo).rules);
        let api = Api { backend: Arc::new(daemon), tokens: Arc::new(api::tokens(config)) };
        let tokens = api.tokens.clone();
        let watch_tokens = tokio::spawn(async move { tokens.watch().await });
        let serve = |listener, closed| web::serve(listener, shown, api, closed);
        let admin = Listening::start("admin.listen", config.admin.listen, serve).await?;
        let callbacks = listen_for_callbacks(config, &store, &metrics, &health).await?;
        let vital = Vital::default();
        vital.add(admin.task.abort_handle());
        let beat = systemd::beat(vital.clone(), status_line(health.clone(), metrics.clone()));
        prepare(config, &store, migrate, &health).await?;
        systemd::ready();
        let watch = tokio::spawn(watch_postgres(config.clone(), store.clone(), health.clone()));
        let queues = Arc::new(QueueWatch::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let count = tokio::spawn(count_queues(queues.clone(), metrics.clone(), tempo.gauges));
        let publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let announcer = Arc::new(EventPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let ports = ports(config, &store, publisher.clone(), announcer.clone(), gateway);
        let shard = Shard::start(settings(config, tempo), ports.clone(), metrics.clone(), health.clone());
        for task in [watch.abort_handle(), count.abort_handle(), shard.abort_handle()] {
            vital.add(task);
        }
        let config = config.clone();
        Ok(App {
            config,
            tempo,
            admin,
            callbacks,
            shard: Some(shard),
            ports,
            metrics,
            health,
            publisher,
            announcer,
            api_publisher,
            store,
            watch,
            watch_tokens,
            queues,
            count,
            vital,
            beat,
        })
    }

    /// Goes on with another configuration: accounts, limits, codes, and whatever else needs no other
    /// connection or listener. What is on the wire finishes first, what waits in memory goes back to
    /// RabbitMQ; as after a start, every number counts as just used.
    ///
    /// # Errors
    /// When a key changed that needs a restart, or the gateway client cannot be set up. Nothing has
    /// changed then.
    pub async fn reload(&mut self, config: Config) -> anyhow::Result<()> {
        let fixed = self.config.needs_restart(&config);
        anyhow::ensure!(fixed.is_empty(), "{}: only a restart can change this", fixed.join(", "));
        let gateway = gateway(&config)?;
        telemetry::logging::set_level(&config.log.level)?;
        if let Some(shard) = self.shard.take() {
            self.vital.remove(&shard.abort_handle());
            shard.stop().await;
        }
        let store = Arc::new(self.store.with_lease(lease(&config)).with_limits(config.limits.windows));
        self.ports = Ports {
            ledger: store.clone(),
            upkeep: store.clone(),
            outbox: store,
            gateway: Arc::new(gateway),
            ..self.ports.clone()
        };
        self.metrics.forget_accounts();
        let settings = settings(&config, self.tempo);
        let shard = Shard::start(settings, self.ports.clone(), self.metrics.clone(), self.health.clone());
        self.vital.add(shard.abort_handle());
        self.shard = Some(shard);
        self.config = config;
        Ok(())
    }

    /// Where the admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address
    }

    /// Where the callback listener is, if it is on.
    pub fn callbacks(&self) -> Option<SocketAddr> {
        self.callbacks.as_ref().map(|callbacks| callbacks.address)
    }

    /// Drains and ends everything, the last started first. Returns the attempts that were still on
    /// the wire at the deadline.
    pub async fn stop(self) -> usize {
        self.vital.clear();
        systemd::stopping();
        self.health.down(Part::Process, "stopping: it was told to; what is on the wire may finish");
        let unfinished = match self.shard {
            Some(shard) => shard.stop().await,
            None => 0,
        };
        self.announcer.close().await;
        self.publisher.close().await;
        self.count.abort();
        self.watch.abort();
        // A look that hangs holds the connection: do not wait for it.
        let _ = tokio::time::timeout(LIMIT, self.queues.close()).await;
        if let Some(callbacks) = self.callbacks {
            callbacks.stop().await;
        }
        self.admin.stop().await;
        self.watch_tokens.abort();
        self.api_publisher.close().await;
        // A batch that Postgres never took may hold a connection: do not wait for it.
        let _ = tokio::time::timeout(LIMIT, self.store.close()).await;
        self.beat.abort();
        unfinished
    }
}

/// Runs the daemon until SIGTERM or Ctrl-C. With SIGHUP it takes up what `load` reads.
///
/// # Errors
/// When it cannot start: the address is taken, or the database lacks its migrations.
pub async fn run(
    config: Config,
    migrate: bool,
    load: impl Fn() -> Result<Config, config::Problems>,
) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be handled")?;
    tokio::pin!(stop);
    let mut app = tokio::select! {
        started = App::start(&config, migrate, Tempo::default()) => started?,
        () = &mut stop => return Ok(()),
    };
    info!(version = env!("CARGO_PKG_VERSION"), admin = %app.admin(), "dispatcher runs");
    match app.callbacks() {
        Some(callbacks) => info!(%callbacks, "receipts and replies are taken"),
        None => info!("receipts and replies are not taken: callbacks.secret is not configured"),
    }
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = hangup.recv() => take_up(&mut app, load()).await,
        }
    }
    info!("told to stop");
    match app.stop().await {
        0 => info!("all that was on the wire has finished: goodbye"),
        left => warn!(left, "attempts were still on the wire: they will be settled as unknown"),
    }
    Ok(())
}

/// A bad configuration changes nothing and says so.
async fn take_up(app: &mut App, loaded: Result<Config, config::Problems>) {
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|problem| error!(%problem, "the new configuration is wrong: nothing was changed"));
            return;
        }
    };
    match app.reload(config).await {
        Ok(()) => info!("the new configuration is in force"),
        Err(error) => {
            error!(error = format!("{error:#}"), "the new configuration is not taken up: nothing was changed")
        }
    }
}

/// Where ihuyi posts what it has to say, if a secret is configured. Before Postgres is there pushes are
/// refused, and come again.
async fn listen_for_callbacks(
    config: &Config,
    store: &Store,
    metrics: &Metrics,
    health: &Arc<Health>,
) -> anyhow::Result<Option<Listening>> {
    let Some(secret) = config.callbacks.secret.clone() else { return Ok(None) };
    let opt_out = OptOut::new(config.callbacks.opt_out.clone());
    let inbox = Inbox::start(Arc::new(store.clone()), metrics.clone(), health.clone(), opt_out);
    let callbacks = Callbacks::new(inbox, secret, config.callbacks.allow.clone());
    let serve = |listener, closed| web::serve_callbacks(listener, callbacks, closed);
    Ok(Some(Listening::start("callbacks.listen", config.callbacks.listen, serve).await?))
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
            // For the service manager this is started: it must not end what waits.
            systemd::ready();
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

/// Keeps the gauges of RabbitMQ's queues. That it cannot be reached is the consumer's to say.
async fn count_queues(queues: Arc<QueueWatch>, metrics: Metrics, every: Duration) {
    loop {
        let depths = tokio::time::timeout(LIMIT, queues.depths()).await;
        metrics.set_queues(depths.ok().and_then(Result::ok).as_deref());
        tokio::time::sleep(every).await;
    }
}

/// In a line, for the service manager.
fn status_line(health: Arc<Health>, metrics: Metrics) -> impl Fn() -> String + Send + 'static {
    move || match health.reasons() {
        reasons if !reasons.is_empty() => format!("not ready: {}", reasons.join("; ")),
        _ if metrics.rabbitmq_connected.get() == 1 => "consuming".to_owned(),
        _ => "standing by: another replica consumes".to_owned(),
    }
}

fn note_postgres(health: &Health, reason: String) {
    if health.down(Part::Postgres, reason.clone()) {
        warn!(reason, "Postgres is away");
    }
}

fn open_store(config: &Config) -> anyhow::Result<Store> {
    let open = if config.events.enabled { Store::new } else { Store::silent };
    let store = open(&config.postgres.url, config.postgres.max_connections, lease(config))?;
    Ok(store.with_limits(config.limits.windows))
}

/// How long a claim protects its attempt.
fn lease(config: &Config) -> Duration {
    config.gateway.timeout + CLAIM_MARGIN
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

fn ports(
    config: &Config,
    store: &Store,
    publisher: Arc<JobPublisher>,
    announcer: Arc<EventPublisher>,
    gateway: Accounts,
) -> Ports {
    let rabbitmq = &config.rabbitmq;
    let store = Arc::new(store.clone());
    Ports {
        ledger: store.clone(),
        upkeep: store.clone(),
        outbox: store.clone(),
        publisher,
        announcer,
        source: Arc::new(JobSource::new(&rabbitmq.url, &rabbitmq.prefix, rabbitmq.prefetch)),
        lease: Arc::new(ShardLease::new(&config.postgres.url, &rabbitmq.prefix, &store)),
        gateway: Arc::new(gateway),
        chance: Arc::new(System),
    }
}

fn settings(config: &Config, tempo: Tempo) -> Settings {
    let index = |name: &String| config.accounts.keys().position(|other| other == name);
    let accounts = config.accounts.iter().map(|(name, account)| AccountSettings {
        name: name.clone(),
        pace: AccountPace {
            bucket: Bucket { period: account.rate.period(), burst: account.burst },
            max_in_flight: account.max_in_flight,
            refusals: account.pause_after_refusals,
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
        number_limited: !config.limits.windows.is_empty(),
        quiet: config.limits.quiet,
        retry: RetryPolicy::new(config.retry.max_attempts, config.retry.initial, config.retry.max),
        codes: config.codes.clone(),
        retention: config.retention.jobs,
        keep_records: config.retention.rejections,
        drain_timeout: config.drain_timeout,
        events: config.events.enabled,
        tempo,
    }
}
