//! A database and queues for one run on the real services, removed at its end.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use dispatcher::broker::JobPublisher;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};
use sqlx::{Connection as _, PgConnection};
use url::Url;

/// Publishes that wait for their confirm at a time.
const WINDOW: usize = 1_000;
/// Statistics of a backend that has ended are there at the latest after this.
const SETTLING: Duration = Duration::from_millis(300);

/// The services of one run.
pub struct Services {
    amqp_url: String,
    prefix: String,
    database: String,
    database_url: String,
    /// On the database of DATABASE_URL, so that nothing done here counts for the other one.
    admin: PgConnection,
    connection: Connection,
    channel: Channel,
}

/// One message to publish.
pub struct Message {
    /// Eleven digits.
    pub mobile: u64,
    /// The job, as JSON.
    pub body: String,
}

impl Message {
    /// A job with an `id` of its own: a parcel's notice, 42 characters.
    pub fn new(run: &str, number: u64) -> Self {
        let mobile = 13_000_000_000 + number;
        let content =
            format!("您的快递{number:08}已到达菜鸟驿站，请凭取件码8-2-{:04}及时领取，感谢使用。", number % 10_000);
        Message { mobile, body: format!(r#"{{"id":"{run}-{number}","mobile":"{mobile}","content":"{content}"}}"#) }
    }
}

impl Services {
    /// Makes the database and declares the queues.
    pub async fn prepare() -> anyhow::Result<Self> {
        let given = |name| std::env::var(name).with_context(|| format!("{name} is not set: run `make bench`"));
        let (amqp_url, admin_url) = (given("AMQP_URL")?, given("DATABASE_URL")?);
        let prefix = format!("bench-{}", std::process::id());
        let database = format!("dispatcher_bench_{}", std::process::id());
        let mut admin = PgConnection::connect(&admin_url).await.context("DATABASE_URL")?;
        execute(&mut admin, format!("create database {database}")).await?;
        let mut database_url = Url::parse(&admin_url).context("DATABASE_URL")?;
        database_url.set_path(&database);
        // The daemon's own publisher declares the same topology as the daemon.
        let topology = JobPublisher::connect(&amqp_url.clone().into(), &prefix).await?;
        topology.close().await;
        let connection = Connection::connect(&amqp_url, ConnectionProperties::default()).await.context("AMQP_URL")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let database_url = database_url.to_string();
        Ok(Services { amqp_url, prefix, database, database_url, admin, connection, channel })
    }

    /// RabbitMQ's URL.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// The prefix of this run's queues.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// This run's database.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The queue that [`Services::publish`] fills.
    pub fn queue(&self) -> String {
        format!("{}.jobs.normal.0", self.prefix)
    }

    /// A connection to this run's database.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }

    /// Empties the tables of both contenders, so that every round finds the same.
    pub async fn truncate(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        execute(&mut connection, "truncate jobs, attempts, plain_jobs".into()).await?;
        Ok(connection.close().await?)
    }

    /// Transactions committed in this run's database so far. Everything counts that Postgres counts:
    /// each statement outside of a transaction, and a worker of autovacuum's now and then.
    pub async fn transactions(&mut self) -> anyhow::Result<i64> {
        tokio::time::sleep(SETTLING).await;
        let query = sqlx::query_scalar("select xact_commit from pg_stat_database where datname = $1");
        Ok(query.bind(&self.database).fetch_one(&mut self.admin).await?)
    }

    /// Publishes `messages` in order and waits for all confirms.
    pub async fn publish(&self, messages: impl Iterator<Item = Message>) -> anyhow::Result<()> {
        let mut confirms = Vec::with_capacity(WINDOW);
        for message in messages {
            confirms.push(self.send(&message).await?);
            if confirms.len() == WINDOW {
                confirmed(&mut confirms).await?;
            }
        }
        confirmed(&mut confirms).await
    }

    /// Publishes one message; the confirm must be awaited some time.
    pub async fn send(&self, message: &Message) -> anyhow::Result<PublisherConfirm> {
        let (exchange, key) = (format!("{}.jobs", self.prefix), format!("normal.{}", message.mobile));
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let body = message.body.as_bytes();
        Ok(self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?)
    }

    /// Messages that are ready in the queue. With no consumer that is all of them.
    pub async fn depth(&self) -> anyhow::Result<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let queue = self.channel.queue_declare(self.queue().into(), passive, FieldTable::default()).await?;
        Ok(queue.message_count())
    }

    /// Removes the queues, the exchanges and the database.
    pub async fn remove(mut self) -> anyhow::Result<()> {
        let name = |rest: &str| format!("{}.{rest}", self.prefix);
        for queue in ["jobs.high.0", "jobs.normal.0", "jobs.bulk.0", "dead"] {
            self.channel.queue_delete(name(queue).into(), QueueDeleteOptions::default()).await?;
        }
        for exchange in ["jobs", "jobs.unrouted", "events"] {
            self.channel.exchange_delete(name(exchange).into(), ExchangeDeleteOptions::default()).await?;
        }
        self.connection.close(200, "done".into()).await?;
        execute(&mut self.admin, format!("drop database {} with (force)", self.database)).await?;
        Ok(self.admin.close().await?)
    }
}

/// Runs a statement whose names are made here and hold no input.
async fn execute(connection: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

async fn confirmed(confirms: &mut Vec<PublisherConfirm>) -> anyhow::Result<()> {
    for confirm in confirms.drain(..) {
        let confirmation = confirm.await?;
        anyhow::ensure!(matches!(confirmation, Confirmation::Ack(None)), "the broker refused a message");
    }
    Ok(())
}

/// Unix seconds, on the clock that all parts of a run share.
pub fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
