//! A database for each test, and what tests ask of it through the contract's columns.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, FromRow};
use url::Url;

use super::{at_the_end, service, unique_name};

/// An empty database, dropped in the end.
pub struct TestDb {
    server: String,
    name: String,
    /// For the daemon.
    pub url: String,
    /// For the test's own questions.
    pub pool: PgPool,
}

/// The public columns of a job that most tests look at.
#[derive(Clone, Debug, FromRow)]
pub struct JobRow {
    pub id: String,
    pub account: String,
    pub mobile: String,
    pub priority: String,
    pub state: String,
    pub wait_reason: Option<String>,
    pub due_at: Option<DateTime<Utc>>,
    pub on_unknown: String,
    pub attempts: i32,
    pub code: Option<i64>,
    pub message: Option<String>,
    pub smsid: Option<String>,
}

/// A message that was no job, as it was kept.
#[derive(Clone, Debug, FromRow)]
pub struct RejectionRow {
    pub reason: String,
    pub detail: String,
    pub body: Vec<u8>,
    pub properties: serde_json::Value,
}

impl TestDb {
    /// Creates it on the server of `DATABASE_URL`.
    pub async fn create() -> TestDb {
        TestDb::on(service("DATABASE_URL")).await
    }

    /// Creates it on this server.
    pub async fn on(server: String) -> TestDb {
        let name = unique_name();
        let mut admin = PgConnection::connect(&server).await.expect("Postgres is reached");
        let sql = AssertSqlSafe(format!("create database {name}"));
        admin.execute(sql).await.expect("a database can be created");
        let mut url = Url::parse(&server).expect("it has a URL");
        url.set_path(&name);
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(url.as_str()).unwrap();
        TestDb { server, name, url: url.into(), pool }
    }

    /// The job of that id.
    pub async fn job(&self, id: &str) -> Option<JobRow> {
        let sql = "select id, account, mobile, priority, state, wait_reason, due_at, on_unknown, attempts, code, \
                   message, smsid from jobs where id = $1";
        sqlx::query_as(sql).bind(id).fetch_optional(&self.pool).await.unwrap()
    }

    /// `outcome` and `code` of each attempt of a job, the first first.
    pub async fn attempts(&self, id: &str) -> Vec<(String, Option<i64>)> {
        let sql = "select coalesce(outcome, 'on the wire'), code from attempts where job_id = $1 order by attempt";
        sqlx::query_as(sql).bind(id).fetch_all(&self.pool).await.unwrap()
    }

    /// How many jobs are in each state, as `state/wait_reason` where they wait: `accepted 3, waiting/retry 1`.
    pub async fn states(&self) -> String {
        let sql = "select concat_ws('/', state, wait_reason), count(*) from jobs group by 1 order by 1";
        let counts: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap();
        counts.iter().map(|(state, jobs)| format!("{state} {jobs}")).collect::<Vec<_>>().join(", ")
    }

    /// How many rows `from` has: a table, with or without a condition.
    pub async fn count(&self, from: &str) -> i64 {
        let sql = AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// All that was rejected, the first first.
    pub async fn rejections(&self) -> Vec<RejectionRow> {
        let sql = "select reason, detail, body, properties from rejections order by id";
        sqlx::query_as(sql).fetch_all(&self.pool).await.unwrap()
    }

    /// A job goes to `state` as others would bring it there: in the same statement, others are told.
    pub async fn announce(&self, id: &str, state: &str) {
        let sql = "with gone as (update jobs set state = $2, updated_at = now() where id = $1 returning *)
                   insert into events (job_id, type, data)
                   select id, 'job.' || state, jsonb_build_object('id', id, 'mobile', mobile, 'account', account,
                       'state', state, 'code', code, 'message', message, 'smsid', smsid, 'metadata', metadata,
                       'at', now())
                   from gone";
        assert_eq!(sqlx::query(sql).bind(id).bind(state).execute(&self.pool).await.unwrap().rows_affected(), 1);
    }

    /// An event about a job that need not exist.
    pub async fn announce_bare(&self, id: &str, state: &str) {
        let sql = "insert into events (job_id, type, data)
                   values ($1, 'job.' || $2, jsonb_build_object('id', $1, 'state', $2))";
        sqlx::query(sql).bind(id).bind(state).execute(&self.pool).await.unwrap();
    }

    /// Keeps a copy of every event in table `told`: the outbox forgets what was published.
    pub async fn keep_events(&self) {
        self.execute("create table told (like events)").await;
        self.execute(
            "create function keep_event() returns trigger language plpgsql as
             $$ begin insert into told select new.*; return null; end $$",
        )
        .await;
        self.execute("create trigger keep_event after insert on events for each row execute function keep_event()")
            .await;
    }

    /// Changes rows behind the daemon's back; again, where it and the daemon have locked the same rows in another
    /// order, and Postgres has ended this statement.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        loop {
            match sqlx::query(sql).execute(&self.pool).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => {}
                done => return done.unwrap().rows_affected(),
            }
        }
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        at_the_end(&format!("database {name}"), async move {
            let mut admin = PgConnection::connect(&server).await.map_err(|error| error.to_string())?;
            // By force: a daemon of a test that failed may hold connections.
            let sql = AssertSqlSafe(format!("drop database if exists {name} with (force)"));
            admin.execute(sql).await.map(drop).map_err(|error| error.to_string())
        });
    }
}
