//! The composition root: the only file that knows every module. [`App::start`] builds the daemon
//! from a checked configuration, [`App::stop`] takes it down in reverse; signals are [`run`]'s.

mod api;
mod parts;
mod postgres;
mod reload;

pub(crate) use parts::client_options;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::broker::{EventPublisher, JobPublisher, QueueWatch};
use crate::config::{self, Config};
use crate::dispatch::health::{Health, Part};
use crate::dispatch::inbox::Inbox;
use crate::dispatch::metrics::Metrics;
use crate::dispatch::settings::Tempo;
use crate::dispatch::trace::Tracer;
use crate::dispatch::{Ports, Shard};
use crate::domain::uplink::OptOut;
use crate::store::Store;
use crate::systemd::{self, Vital};
use crate::telemetry;
use crate::telemetry::traces::Exporter;
use crate::web::{self, Api, Callbacks, Status};

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
    tracer: Option<Arc<Exporter>>,
    /// For the API alone: what it publishes must not hold up releases.
    api_publisher: Arc<JobPublisher>,
    api_backend: Arc<api::Daemon>,
    asked: reload::Asked,
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
        // Not kept by whoever finds out: it would stand for ever where the session ends meanwhile.
        self.metrics.rabbitmq_blocked.set(i64::from(self.health.is_down(Part::Publishing)));
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
        let store = parts::open_store(config)?;
        let gateway = parts::gateway(config)?;
        let shown = Arc::new(Shown { health: health.clone(), metrics: metrics.clone() });
        let api_publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let (asking, asked) = reload::channel();
        let api_backend =
            Arc::new(api::Daemon::new(config, store.clone(), metrics.clone(), api_publisher.clone(), asking));
        let api = Api { backend: api_backend.clone(), tokens: Arc::new(api::tokens(config)) };
        let tokens = api.tokens.clone();
        let watch_tokens = tokio::spawn(async move { tokens.watch().await });
        let serve = |listener, closed| web::serve(listener, shown, api, closed);
        let admin = Listening::start("admin.listen", config.admin.listen, serve).await?;
        let vital = Vital::default();
        let callbacks = listen_for_callbacks(config, &store, &metrics, &health, &vital).await?;
        vital.add(admin.task.abort_handle());
        let beat = systemd::beat(vital.clone(), status_line(health.clone(), metrics.clone()));
        postgres::prepare(config, &store, migrate, &health).await?;
        systemd::ready();
        let watch = tokio::spawn(postgres::watch(config.clone(), store.clone(), health.clone()));
        let queues = Arc::new(QueueWatch::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let count = tokio::spawn(count_queues(queues.clone(), metrics.clone(), tempo.gauges));
        let publisher = Arc::new(JobPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let announcer = Arc::new(EventPublisher::new(&config.rabbitmq.url, &config.rabbitmq.prefix));
        let tracer = parts::tracer(config);
        let mut ports = parts::ports(config, &store, publisher.clone(), announcer.clone(), gateway);
        ports.tracer = tracer.clone().map(|tracer| tracer as Arc<dyn Tracer>);
        let shard = Shard::start(parts::settings(config, tempo), ports.clone(), metrics.clone(), health.clone());
        [watch.abort_handle(), count.abort_handle()].into_iter().chain(shard.vital()).for_each(|task| vital.add(task));
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
            tracer,
            api_publisher,
            api_backend,
            asked,
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
    /// RabbitMQ; as after a start, every number counts as just used. Returns the keys that changed; without
    /// any, nothing is disturbed.
    ///
    /// # Errors
    /// When a key changed that needs a restart, or the gateway client cannot be set up. Nothing has
    /// changed then.
    pub async fn reload(&mut self, config: Config) -> anyhow::Result<Vec<String>> {
        let fixed = self.config.needs_restart(&config);
        anyhow::ensure!(fixed.is_empty(), "{}: only a restart can change this", fixed.join(", "));
        let changed = self.config.changed(&config);
        if changed.is_empty() {
            return Ok(changed);
        }
        let gateway = parts::gateway(&config)?;
        telemetry::logging::set_level(&config.log.level)?;
        if let Some(shard) = self.shard.take() {
            shard.vital().iter().for_each(|task| self.vital.remove(task));
            shard.stop().await;
        }
        let store = Arc::new(self.store.with_lease(parts::lease(&config)).with_limits(config.limits.windows));
        self.ports = Ports {
            ledger: store.clone(),
            upkeep: store.clone(),
            outbox: store,
            gateway: Arc::new(gateway),
            ..self.ports.clone()
        };
        self.metrics.forget_accounts();
        self.metrics.begin_accounts(config.accounts.keys().map(String::as_str));
        self.api_backend.reload(&config);
        let settings = parts::settings(&config, self.tempo);
        let shard = Shard::start(settings, self.ports.clone(), self.metrics.clone(), self.health.clone());
        shard.vital().into_iter().for_each(|task| self.vital.add(task));
        self.shard = Some(shard);
        self.config = config;
        Ok(changed)
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
        if let Some(tracer) = self.tracer {
            tracer.close().await;
        }
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

/// Runs the daemon until SIGTERM or Ctrl-C. With SIGHUP, or when the API asks, it takes up what `load` reads.
///
/// # Errors
/// When it cannot start: the address is taken, or the database lacks its migrations. When a part of it has
/// ended by itself, which is a bug.
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
    let failed = loop {
        tokio::select! {
            () = &mut stop => break false,
            // Whoever watches the process starts it again: half a daemon would only look well.
            _ = &mut app.beat => break true,
            _ = hangup.recv() => drop(reload::take_up(&mut app, &load).await),
            request = app.asked.next() => request.answer(reload::take_up(&mut app, &load).await),
        }
    };
    if !failed {
        info!("told to stop");
    }
    match app.stop().await {
        0 => info!("all that was on the wire has finished: goodbye"),
        left => warn!(left, "attempts were still on the wire: they will be settled as unknown"),
    }
    anyhow::ensure!(!failed, "a part of the daemon has ended: see the log above, and start it again");
    Ok(())
}

/// Where ihuyi posts what it has to say, if a secret is configured. Before Postgres is there pushes are
/// refused, and come again.
async fn listen_for_callbacks(
    config: &Config,
    store: &Store,
    metrics: &Metrics,
    health: &Arc<Health>,
    vital: &Vital,
) -> anyhow::Result<Option<Listening>> {
    let Some(secret) = config.callbacks.secret.clone() else { return Ok(None) };
    let opt_out = OptOut::new(config.callbacks.opt_out.clone());
    let inbox = Inbox::start(Arc::new(store.clone()), metrics.clone(), health.clone(), opt_out);
    inbox.vital().into_iter().for_each(|task| vital.add(task));
    let callbacks = Callbacks::new(inbox, secret, config.callbacks.allow.clone());
    let serve = |listener, closed| web::serve_callbacks(listener, callbacks, closed);
    Ok(Some(Listening::start("callbacks.listen", config.callbacks.listen, serve).await?))
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
