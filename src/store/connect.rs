//! The pool, the migrations, and the health of the connection.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrate;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, Postgres};

use super::error::ledger_error;
use super::pool::Pool;
use super::replaying::Looked;
use crate::dispatch::ports::LedgerError;
use crate::domain::limits::NumberLimits;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Commits are durable whatever the server's default is: an attempt that a power cut could undo
/// would be a message sent in silence. The time limits end what hangs on a dead client or a lost
/// network.
///
/// Every statement here touches few rows by an index. The planner cannot know: it sees a table that
/// was empty when it was last analysed, and scans all of what is a backlog of 200,000 by now. So it
/// is told: indexes and nested loops, planned once, and nothing compiled: where no index serves at all, the
/// penalty on the rest makes a statement look dear enough for a second of JIT.
pub(super) const SESSION: &str = "set synchronous_commit = on; set statement_timeout = '60s'; \
     set lock_timeout = '30s'; set idle_in_transaction_session_timeout = '60s'; set tcp_keepalives_idle = 5; \
     set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; set timezone = 'UTC'; \
     set plan_cache_mode = force_generic_plan; set jit = off; set enable_seqscan = off; set enable_hashjoin = off; \
     set enable_mergejoin = off";

/// For migrations.
const UNLIMITED: &str = "set synchronous_commit = on; set statement_timeout = 0; set lock_timeout = 0; \
     set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; set timezone = 'UTC'";

/// Read by `announce!` of `events.rs`.
const SILENT: &str = "set dispatcher.events = 'off'";

/// How long to wait for a free connection.
const ACQUIRE: Duration = Duration::from_secs(10);

/// Postgres.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: Pool,
    /// How long a claim protects its attempt, in seconds.
    pub(super) lease_seconds: f64,
    /// What one number may get over long windows.
    pub(super) limits: NumberLimits,
    pub(super) looked: Looked,
}

/// The database has not the schema that this program needs.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// `dispatcher migrate` mends it.
    #[error("the database lacks {0} migration(s): run `dispatcher migrate` (or start with `run --migrate`)")]
    Behind(usize),
    /// It was changed by hand, or a migration stopped half-way.
    #[error("the database's migrations are not this program's: {0}")]
    Foreign(String),
    /// It cannot be told.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Store {
    /// A pool for `url`. Connects when first used.
    pub fn new(url: &SecretString, max_connections: u32, lease: Duration) -> Result<Self, LedgerError> {
        Self::with(url, max_connections, lease, "")
    }

    /// The same, for `[events] enabled = false`: what it changes is announced to nobody.
    pub fn silent(url: &SecretString, max_connections: u32, lease: Duration) -> Result<Self, LedgerError> {
        Self::with(url, max_connections, lease, SILENT)
    }

    /// `session`: what its connections are told besides.
    fn with(
        url: &SecretString,
        max_connections: u32,
        lease: Duration,
        session: &'static str,
    ) -> Result<Self, LedgerError> {
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(|_| LedgerError::Refused("postgres.url cannot be read".into()))?
            .application_name("dispatcher");
        let pool_options = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE)
            // A stale connection shows as a failed batch, which is tried again; a ping before each
            // batch would double the round trips.
            .test_before_acquire(false)
            .max_lifetime(Duration::from_secs(30 * 60))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    connection.execute(SESSION).await?;
                    if session.is_empty() { Ok(()) } else { connection.execute(session).await.map(drop) }
                })
            });
        let pool = Pool::new(pool_options, options);
        Ok(Store {
            pool,
            lease_seconds: lease.as_secs_f64(),
            limits: NumberLimits::default(),
            looked: Looked::default(),
        })
    }

    /// The same, where one number may get so much over long windows: its claims ask.
    pub fn with_limits(self, limits: NumberLimits) -> Self {
        Store { limits, ..self }
    }

    /// The same, whose claims protect their attempts for `lease`.
    pub fn with_lease(&self, lease: Duration) -> Self {
        Store { lease_seconds: lease.as_secs_f64(), ..self.clone() }
    }

    /// Applies what is missing. Only one process at a time does; the others wait, for as long as it takes: an index
    /// of ten million jobs takes a minute.
    pub async fn migrate(&self) -> Result<(), MigrationError> {
        let options = PgConnectOptions::clone(&self.pool.current().connect_options());
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .after_connect(|connection, _| Box::pin(async move { connection.execute(UNLIMITED).await.map(drop) }))
            .connect_lazy_with(options);
        let done = MIGRATIONS.run(&pool).await.map_err(migrate_error);
        pool.close().await;
        done
    }

    /// Is the schema the one that this program was built for?
    pub async fn check_migrations(&self) -> Result<(), MigrationError> {
        let mut connection = self.pool.current().acquire().await.map_err(ledger_error)?;
        let table = MIGRATIONS.table_name.as_ref();
        let known: Option<String> = sqlx::query_scalar("select to_regclass($1)::text")
            .bind(table)
            .fetch_one(&mut *connection)
            .await
            .map_err(ledger_error)?;
        let applied = match known {
            Some(_) => connection.list_applied_migrations(table).await.map_err(migrate_error)?,
            None => Vec::new(),
        };
        let mut missing = 0;
        for ours in MIGRATIONS.iter() {
            match applied.iter().find(|theirs| theirs.version == ours.version) {
                Some(theirs) if theirs.checksum == ours.checksum => {}
                Some(_) => return Err(MigrationError::Foreign(format!("migration {} differs", ours.version))),
                None => missing += 1,
            }
        }
        // Migrations that we do not know are a newer release's, which expands before it contracts.
        if missing == 0 { Ok(()) } else { Err(MigrationError::Behind(missing)) }
    }

    /// Does it take writes? One round trip. Where it does not, every connection is given up: a session keeps to what
    /// was true when it was opened.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        if takes_writes(&self.pool).await.map_err(ledger_error)? {
            return Ok(());
        }
        self.pool.renew();
        Err(LedgerError::Unavailable(TAKES_NO_WRITES.into()))
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.current().close().await;
    }
}

/// What is wrong with a server that is well but for this.
pub(super) const TAKES_NO_WRITES: &str = "it takes no writes: it is read-only, or a standby";

/// Whether a session of `server` may write: not on a standby, nor where its database or user is set to read only.
pub(super) async fn takes_writes<'e>(server: impl Executor<'e, Database = Postgres>) -> Result<bool, sqlx::Error> {
    let read_only: String = sqlx::query_scalar("show transaction_read_only").fetch_one(server).await?;
    Ok(read_only == "off")
}

fn migrate_error(error: sqlx::migrate::MigrateError) -> MigrationError {
    match error {
        sqlx::migrate::MigrateError::Execute(error) => MigrationError::Ledger(ledger_error(error)),
        other => MigrationError::Foreign(other.to_string()),
    }
}
