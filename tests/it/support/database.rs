//! A database for each test, so that tests run side by side and leave nothing behind.

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use url::Url;

/// An empty database on the server of `DATABASE_URL`, dropped with this value.
pub struct TestDb {
    name: String,
    url: Url,
}

impl TestDb {
    /// Panics, with what to do, where there is no server. May be called inside a runtime.
    pub fn create() -> Self {
        let name = format!("dispatcher_test_{:016x}", fastrand::u64(..));
        on_server(format!("create database {name}"));
        let mut url = server();
        url.set_path(&name);
        TestDb { name, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Runs statements without parameters.
    pub fn execute(&self, sql: &str) {
        let (url, sql) = (self.url.clone(), sql.to_owned());
        blocking(async move { execute(&url, sql).await }).unwrap();
    }

    /// Rows of a table, or of `TABLE where …`.
    pub fn count(&self, rows: &str) -> i64 {
        let (url, sql) = (self.url.clone(), format!("select count(*) from {rows}"));
        blocking(async move {
            let mut connection: PgConnection = PgConnectOptions::from_str(url.as_str())?.connect().await?;
            let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await?;
            connection.close().await.map(|()| count)
        })
        .unwrap_or_else(|error: sqlx::Error| panic!("{error}"))
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // Also while a daemon of the test is still connected.
        on_server(format!("drop database if exists {} with (force)", self.name));
    }
}

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);

fn server() -> Url {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run `make test`, which starts Postgres");
    Url::parse(&url).expect("DATABASE_URL is no URL")
}

fn on_server(sql: String) {
    let server = server();
    let done = blocking(async move {
        let mut tries = 0;
        loop {
            tries += 1;
            match execute(&server, sql.clone()).await {
                // A database cannot be dropped while an autovacuum worker, whom only a superuser may end, is in it.
                Err(error) if tries < 100 && is_forbidden(&error) => tokio::time::sleep(AGAIN).await,
                done => return done,
            }
        }
    });
    done.expect("Postgres at DATABASE_URL refuses: run `make test`");
}

fn is_forbidden(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}

async fn execute(url: &Url, sql: String) -> sqlx::Result<()> {
    let mut connection: PgConnection = PgConnectOptions::from_str(url.as_str())?.connect().await?;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await?;
    connection.close().await
}

/// On a thread and a runtime of its own: a test, and above all `Drop`, may be inside another runtime.
fn blocking<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || runtime().block_on(work)).join().unwrap()
}
