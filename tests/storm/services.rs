//! A database and queues of its own on the real services, removed at the end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;
use url::Url;

use super::publisher::Publisher;

/// Connections of a killed process are gone sooner.
const PATIENCE: Duration = Duration::from_secs(30);
const QUEUES: [&str; 3] = ["jobs.high.0", "jobs.normal.0", "jobs.bulk.0"];

/// See the module.
pub struct Services {
    amqp_url: String,
    prefix: String,
    admin_url: String,
    database: String,
    database_url: String,
}

/// A service that is to be killed hard, and the program that does it and starts it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// `rabbitmq` or `postgres`.
    pub service: String,
    /// Called with `crash` and the service.
    pub script: String,
}

impl Crash {
    /// Kills the service after `delay`, and returns when it runs again.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn strike(self, delay: Duration) -> anyhow::Result<()> {
        tokio::time::sleep(delay).await;
        let mut command = Command::new(&self.script);
        // With these set, the script would leave the service alone as somebody else's.
        command.args(["crash", &self.service]).env_remove("AMQP_URL").env_remove("DATABASE_URL");
        let output = command.output().await.with_context(|| self.script.clone())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Services {
    /// Makes the database. The daemon declares the queues.
    pub async fn prepare(name: &str) -> anyhow::Result<Self> {
        let given = |name| std::env::var(name).with_context(|| format!("{name} is not set: run `make chaos`"));
        let (amqp_url, admin_url) = (given("AMQP_URL")?, given("DATABASE_URL")?);
        let prefix = format!("{name}_{}_{:08x}", std::process::id(), fastrand::u32(..));
        let mut database_url = Url::parse(&admin_url).context("DATABASE_URL")?;
        database_url.set_path(&prefix);
        let database_url = database_url.to_string();
        let services = Services { amqp_url, database: prefix.clone(), prefix, admin_url, database_url };
        services.administer(format!("create database {}", services.database)).await?;
        Ok(services)
    }

    /// The daemon's configuration: `settings`, and where the services are.
    pub fn environment(&self, mut settings: HashMap<&str, String>) -> Vec<(String, String)> {
        settings.insert("rabbitmq.url", self.amqp_url.clone());
        settings.insert("rabbitmq.prefix", self.prefix.clone());
        settings.insert("postgres.url", self.database_url.clone());
        let variable = |key: &str| format!("DISPATCHER__{}", key.to_uppercase().replace('.', "__"));
        settings.into_iter().map(|(key, value)| (variable(key), value)).collect()
    }

    /// A publisher of jobs.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.amqp_url, format!("{}.jobs", self.prefix))
    }

    /// A connection to the daemon's database.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }

    /// One number that Postgres tells.
    pub async fn count(&self, from: &str) -> anyhow::Result<i64> {
        let mut connection = self.connect().await?;
        let sql = AssertSqlSafe(format!("select count(*) from {from}"));
        let count = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(count)
    }

    /// About how much is left to do until `jobs` are settled and no message is ready.
    pub async fn unrest(&self, jobs: usize) -> anyhow::Result<i64> {
        let settled = self.count("jobs where state not in ('waiting', 'queued', 'submitting')").await?;
        let left = jobs as i64 - settled;
        if left > 0 { Ok(left) } else { Ok(i64::from(self.ready(&QUEUES).await?)) }
    }

    /// Messages that nobody could take.
    pub async fn dead(&self) -> anyhow::Result<u32> {
        self.ready(&["dead"]).await
    }

    async fn ready(&self, queues: &[&str]) -> anyhow::Result<u32> {
        dispatcher::tls::install();
        let connection = Connection::connect(&self.amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mut ready = 0;
        for queue in queues {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
            let name = format!("{}.{queue}", self.prefix);
            ready += channel.queue_declare(name.into(), passive, FieldTable::default()).await?.message_count();
        }
        connection.close(200, "done".into()).await?;
        Ok(ready)
    }

    /// As if the lease of dead processes' claims had passed. They must be dead.
    pub async fn run_out_claims(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let alive = "pg_stat_activity where datname = current_database() and application_name like 'dispatcher%'";
        while self.count(alive).await? > 0 {
            ensure!(begun.elapsed() < PATIENCE, "connections of killed processes stay");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut connection = self.connect().await?;
        let sql = "update jobs set claimed_until = now() - interval '1 s' where state = 'submitting'";
        sqlx::query(sql).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Removes the queues, the exchanges and the database.
    pub async fn remove(&self) -> anyhow::Result<()> {
        dispatcher::tls::install();
        let connection = Connection::connect(&self.amqp_url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let name = |rest: &str| format!("{}.{rest}", self.prefix);
        for queue in QUEUES.iter().chain(&["dead"]) {
            channel.queue_delete(name(queue).into(), QueueDeleteOptions::default()).await?;
        }
        for exchange in ["jobs", "jobs.unrouted", "events"] {
            channel.exchange_delete(name(exchange).into(), ExchangeDeleteOptions::default()).await?;
        }
        connection.close(200, "done".into()).await?;
        self.administer(format!("drop database {} with (force)", self.database)).await
    }

    /// Runs a statement whose names are made here and hold no input.
    async fn administer(&self, statement: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.admin_url).await.context("DATABASE_URL")?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
