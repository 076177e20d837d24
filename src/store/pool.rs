//! The pool, with an end to every wait.
//!
//! A machine that is gone without a word ends no connection: whoever waits for its answer waits for
//! ever, and sqlx goes on lending the other connections to it. So a statement without an answer is given
//! up together with its connection, and then all others are suspect too. A connection whose statement
//! was cut short never goes back to sqlx's pool, which would wait for it as well.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection, Describe, Either, Error, Execute, Executor, Postgres, SqlStr};
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than any statement may take (`statement_timeout`): the server would have ended it.
const SILENCE: Duration = Duration::from_secs(65);

/// The SQLSTATE of a write in a session that may only read.
const READ_ONLY: &str = "25006";

/// Connections to Postgres. A `&Pool` executes statements.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: PgPoolOptions,
    connect: PgConnectOptions,
    current: RwLock<PgPool>,
    /// Changes when the current connections are given up.
    renewed: watch::Sender<()>,
}

impl Pool {
    /// Connects when first used.
    pub fn new(options: PgPoolOptions, connect: PgConnectOptions) -> Pool {
        let current = RwLock::new(options.clone().connect_lazy_with(connect.clone()));
        Pool(Arc::new(Inner { options, connect, current, renewed: watch::Sender::new(()) }))
    }

    /// Gives up every connection, and what waits for an answer on it: the next statement makes a new one.
    pub fn renew(&self) {
        let Inner { options, connect, current, renewed } = &*self.0;
        let fresh = options.clone().connect_lazy_with(connect.clone());
        *current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        renewed.send_replace(());
    }

    /// sqlx's own pool, for what needs it: its waits have no end.
    pub fn current(&self) -> PgPool {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that a statement answers.
    async fn run<'q>(&self, query: impl Execute<'q, Postgres> + 'q) -> Result<Vec<Answer>, Error> {
        let mut renewed = self.0.renewed.subscribe();
        let mut lent = Lent(Some(self.current().acquire().await?));
        let answers = lent.connection()?.fetch_many(query).try_collect();
        let silent = tokio::select! {
            answered = timeout(SILENCE, answers) => match answered {
                // A session that was opened while the server took no writes may stay so for as long as it lives.
                Ok(Err(error)) if is_read_only(&error) => return Err(error),
                Ok(answers) => {
                    // A rejected body of 10 MB would leave a buffer of 20 MB behind in every connection.
                    lent.connection()?.shrink_buffers();
                    lent.give_back();
                    return answers;
                }
                Err(_) => true,
            },
            _ = renewed.changed() => false,
        };
        if silent {
            self.renew();
        }
        Err(given_up())
    }
}

/// The end of one statement, or a row.
type Answer = Either<PgQueryResult, PgRow>;

fn is_read_only(error: &Error) -> bool {
    error.as_database_error().is_some_and(|refused| refused.code().as_deref() == Some(READ_ONLY))
}

fn given_up() -> Error {
    let why = "no answer came, and the connection was given up";
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// A connection that is closed, not returned, unless its statement came to an end.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    fn connection(&mut self) -> Result<&mut PoolConnection<Postgres>, Error> {
        self.0.as_mut().ok_or(Error::PoolClosed)
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Answer, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let answers = async move { pool.run(query).await };
        // Statements here answer at most as many rows as they were told.
        answers.map_ok(|answers| stream::iter(answers.into_iter().map(Ok))).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        self.fetch_many(query)
            .try_filter_map(|answer| future::ok(answer.right()))
            .into_future()
            .map(|(row, _)| row.transpose())
            .boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, types: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.current();
        async move { pool.acquire().await?.prepare_with(sql, types).await }.boxed()
    }
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>> {
        let pool = self.current();
        async move { pool.acquire().await?.describe(sql).await }.boxed()
    }
}
