//! The yardsticks: what one would write in an afternoon. No limiter, no claim, no retry: a message is
//! submitted as soon as it is there, one INSERT stores the answer, one ack ends it. `floor` leaves out
//! the INSERT: what RabbitMQ and HTTP alone allow.
//!
//! Runs as a process of its own (this same binary), so that its CPU time and memory can be compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use md5::{Digest as _, Md5};
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Notify;

use crate::daemon::IN_FLIGHT;
use crate::gateway::{API_ID, API_KEY};

/// As many as the daemon's default.
const CONNECTIONS: u32 = 10;

/// Where a yardstick works.
#[derive(Args, Clone, Debug)]
pub struct PlainArgs {
    #[arg(long)]
    pub amqp_url: String,
    #[arg(long)]
    pub queue: String,
    #[arg(long)]
    pub submit_url: String,
    /// Left out for `floor`.
    #[arg(long)]
    pub database_url: Option<String>,
    /// After so many it says `done`.
    #[arg(long)]
    pub jobs: u64,
}

#[derive(Deserialize)]
struct Job {
    id: String,
    mobile: String,
    content: String,
}

#[derive(Deserialize)]
struct Reply {
    code: i64,
    msg: String,
    smsid: String,
}

struct Worker {
    http: reqwest::Client,
    submit_url: String,
    pool: Option<PgPool>,
    done: AtomicU64,
    jobs: u64,
    finished: Notify,
}

/// The table of `plain`, made once.
pub const TABLE: &str = "create table plain_jobs (id text primary key, mobile text not null, content text not null, \
     code bigint not null, message text not null, smsid text not null, created_at timestamptz not null default now())";

/// Works until SIGTERM; says `done` on standard output when all jobs are acknowledged.
pub async fn run(args: PlainArgs) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    dispatcher::tls::install();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(IN_FLIGHT.into());
    let pool = match &args.database_url {
        Some(url) => Some(PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?),
        None => None,
    };
    let worker = Arc::new(Worker {
        http: http.build()?,
        submit_url: args.submit_url,
        pool,
        done: AtomicU64::new(0),
        jobs: args.jobs,
        finished: Notify::new(),
    });
    let connection = Connection::connect(&args.amqp_url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(IN_FLIGHT, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(args.queue.into(), "plain".into(), options, FieldTable::default()).await?;
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.context("the consumer ended")??;
                let worker = worker.clone();
                tokio::spawn(async move {
                    if let Err(error) = worker.deliver(delivery).await {
                        eprintln!("a job failed: {error:#}");
                    }
                });
            }
            () = worker.finished.notified() => println!("done"),
            _ = terminate.recv() => return Ok(connection.close(200, "done".into()).await?),
        }
    }
}

impl Worker {
    async fn deliver(&self, delivery: Delivery) -> anyhow::Result<()> {
        let job: Job = serde_json::from_slice(&delivery.data)?;
        let reply = self.submit(&job).await?;
        ensure!(reply.code == 2, "code {}", reply.code);
        if let Some(pool) = &self.pool {
            store(pool, &job, &reply).await?;
        }
        delivery.ack(BasicAckOptions::default()).await?;
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.jobs {
            self.finished.notify_one();
        }
        Ok(())
    }

    async fn submit(&self, job: &Job) -> anyhow::Result<Reply> {
        let time = chrono::Utc::now().timestamp().to_string();
        let mut hash = Md5::new();
        for part in [API_ID, API_KEY, &job.mobile, &job.content, &time] {
            hash.update(part);
        }
        let password: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("account", API_ID), ("password", &password), ("time", &time)])
            .extend_pairs([("mobile", job.mobile.as_str()), ("content", &job.content), ("format", "json")])
            .finish();
        let request = self.http.post(&self.submit_url).header("content-type", "application/x-www-form-urlencoded");
        let body = request.body(form).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&body)?)
    }
}

async fn store(pool: &PgPool, job: &Job, reply: &Reply) -> anyhow::Result<()> {
    sqlx::query("insert into plain_jobs (id, mobile, content, code, message, smsid) values ($1, $2, $3, $4, $5, $6)")
        .bind(&job.id)
        .bind(&job.mobile)
        .bind(&job.content)
        .bind(reply.code)
        .bind(&reply.msg)
        .bind(&reply.smsid)
        .execute(pool)
        .await?;
    Ok(())
}
