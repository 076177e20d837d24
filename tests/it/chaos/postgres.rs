//! Postgres fails under a running daemon: intake stops, nothing is sent without its claim, what was
//! answered is kept and written when it is back.
//!
//! A restart is played by ending every backend (as a server does that is told to stop) while the proxy
//! refuses connections: the daemon sees the same, and other tests keep their server.

use std::time::Duration;

use dispatcher::simulator::{Latency, Options};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::books::{all_settled, balance, jobs};
use super::disk::{Disk, Server};
use crate::support::broker::TestBroker;
use crate::support::db::TestDb;
use crate::support::metrics::get;
use crate::support::proxy::{self, Proxy};
use crate::support::stage::{Stage, lenient};
use crate::support::{becomes, eventually, job, number, service};

/// A daemon with a Postgres that can fail, and a gateway whose answers can be held up.
struct Failing {
    stage: Stage,
    postgres: Proxy,
    gateway: Proxy,
    published: Vec<Value>,
}

impl Failing {
    /// Jobs are on their way: some are done, so that the daemon's statements are known to the server.
    async fn under_load() -> Failing {
        Failing::on(TestDb::create().await).await
    }

    async fn on(db: TestDb) -> Failing {
        let latency = Latency::Fixed(Duration::from_millis(20));
        let mut stage = Stage::of(TestBroker::connect().await, db, Options { latency, ..lenient() }).await;
        stage.set("accounts.main.rate", "200/s");
        stage.set("accounts.main.burst", "1");
        let (postgres, url) = proxy::before(&stage.db.url).await;
        stage.set("postgres.url", &url);
        let (gateway, url) = proxy::before(&stage.gateway.submit_url()).await;
        stage.set("gateway.submit_url", &url);
        stage.set("gateway.timeout", "60s");
        stage.tempo.lost = Duration::from_secs(2);
        stage.start().await;
        let published = jobs("hold", 0, 300);
        stage.publish("normal", &published).await;
        stage.submissions(30).await;
        Failing { stage, postgres, gateway, published }
    }

    /// Waits until requests are on the wire whose answers are held up.
    async fn with_requests_on_the_wire(&self) {
        self.gateway.stall_answers();
        self.stage.submissions(self.stage.gateway.submissions().len() + 5).await;
    }

    /// Waits until readyz says that Postgres is at fault, in these words.
    async fn unready(&self, words: &str) {
        eventually("unready", async || match self.stage.ready().await {
            Some((503, reasons)) if reasons.contains("postgres: ") && reasons.contains(words) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// The answers come now, while nobody can write them down.
    async fn answers_come_meanwhile(&self) {
        self.gateway.resume();
        eventually("all is answered", async || {
            let heard = self.stage.scrape().await.sum("submit_duration_seconds_count", &[]);
            let sent = self.stage.gateway.submissions().len();
            if heard == sent as f64 { Ok(()) } else { Err((heard, sent)) }
        })
        .await;
    }

    /// What is left of it all.
    async fn ends_rightly(self) {
        all_settled(&self.stage, self.published.len()).await;
        balance(&self.stage, &self.published, 6).await;
        assert_eq!(self.stage.db.count("jobs where state <> 'accepted'").await, 0, "{}", self.stage.db.states().await);
        assert_eq!(self.stage.gateway.submissions().len(), self.published.len(), "each once");
        self.stage.flush("normal").await;
        becomes("ready", Some(200), async || self.stage.ready().await.map(|(status, _)| status)).await;
        self.stage.metric("duplicates_total", &[], 0.0).await;
        self.stage.finish().await;
    }

    /// As a server that stops, or whose settings are to be in force at once.
    async fn end_every_backend(&self) {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and application_name like 'dispatcher%'";
        self.stage.db.pool.execute(sql).await.unwrap();
    }
}

/// A statement about the test's database, from outside of it.
async fn from_outside(stage: &Stage, sql: &str) {
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&stage.db.pool).await.unwrap();
    let mut admin = sqlx::PgConnection::connect(&service("DATABASE_URL")).await.unwrap();
    admin.execute(AssertSqlSafe(sql.replace("$name", &name))).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_loses_and_doubles_nothing() {
    let failing = Failing::under_load().await;
    for more in [60, 120, 180] {
        failing.stage.submissions(more).await;
        failing.postgres.cut();
    }
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_restart_of_postgres_loses_and_doubles_nothing() {
    let failing = Failing::under_load().await;
    failing.with_requests_on_the_wire().await;
    failing.end_every_backend().await;
    failing.postgres.refuse();
    failing.unready("").await;
    failing.answers_come_meanwhile().await;
    failing.postgres.resume();
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_failover_to_a_read_only_server_is_an_outage() {
    let failing = Failing::under_load().await;
    failing.with_requests_on_the_wire().await;
    from_outside(&failing.stage, "alter database $name set default_transaction_read_only = on").await;
    failing.end_every_backend().await;
    failing.unready("read-only").await;
    failing.answers_come_meanwhile().await;
    // Sessions that were opened meanwhile stay read-only: nobody but the daemon ends them.
    from_outside(&failing.stage, "alter database $name reset default_transaction_read_only").await;
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_postgres_that_is_read_only_at_the_start_is_said_once_and_waited_for() {
    let stage = Stage::new().await;
    stage.migrate().await;
    from_outside(&stage, "alter database $name set default_transaction_read_only = on").await;
    let daemon = stage.process();
    eventually("unready", async || match get(daemon.admin, "/readyz").await {
        Some((503, reasons)) if reasons.contains("postgres: it takes no writes") => Ok(()),
        other => Err(other),
    })
    .await;
    from_outside(&stage, "alter database $name reset default_transaction_read_only").await;
    daemon.ready().await;
    stage.publish("high", [&job("one", &number(1))]).await;
    stage.settled("one", "accepted").await;
    let (_, log) = daemon.terminate().await;
    assert_eq!(log.matches("waiting for Postgres").count(), 1, "{log}");
    stage.finish().await;
}

#[tokio::test]
async fn a_full_disk_is_an_outage() {
    let failing = Failing::under_load().await;
    failing.with_requests_on_the_wire().await;
    // A server whose disk is full refuses what needs room, and nothing else.
    let full = "create function full_disk() returns trigger language plpgsql as $$ begin
            raise exception 'could not extend file: No space left on device' using errcode = '53100';
        end $$;
        create trigger full_disk before insert or update on jobs for each statement execute function full_disk();
        create trigger full_disk before insert or update on attempts for each statement execute function full_disk();";
    failing.stage.db.pool.execute(full).await.unwrap();
    failing.unready("No space left on device").await;
    failing.answers_come_meanwhile().await;
    failing.stage.db.pool.execute("drop function full_disk cascade").await.unwrap();
    failing.ends_rightly().await;
}

/// What reads, and what writes nothing, goes on: only a job shows it. The broker counts how often a message comes back.
#[tokio::test]
async fn what_postgres_cannot_take_stays_in_its_queue() {
    let mut stage = Stage::new().await;
    let (rabbitmq, url) = proxy::before(&stage.broker.url).await;
    stage.set("rabbitmq.url", &url);
    stage.start().await;
    let full = "create function full_disk() returns trigger language plpgsql as $$ begin
            raise exception 'could not extend file: No space left on device' using errcode = '53100';
        end $$;
        create trigger full_disk before insert or update on jobs for each row execute function full_disk();";
    stage.db.pool.execute(full).await.unwrap();
    stage.publish("normal", &jobs("hold", 0, 20)).await;
    rabbitmq.cut();
    eventually("unready", async || match stage.ready().await {
        Some((503, reasons)) if reasons.contains(": it takes no jobs: ") => Ok(()),
        other => Err(other),
    })
    .await;
    becomes("they are in the queue", 20, async || stage.broker.depth(&stage.broker.queue("normal")).await).await;
    stage.db.pool.execute("drop function full_disk cascade").await.unwrap();
    stage.states("accepted 20").await;
    assert_eq!(stage.gateway.submissions().len(), 20, "each once");
    stage.finish().await;
}

/// Not played: first its tables can take no more, then its log cannot, which ends the server.
#[tokio::test]
async fn a_server_that_ends_for_want_of_room_is_an_outage() {
    let Some(disk) = Disk::of_mebibytes(160) else {
        eprintln!("no file system can be mounted here: `a_full_disk_is_an_outage` stands alone");
        return;
    };
    let server = Server::on(disk).await;
    let failing = Failing::on(TestDb::on(server.url.clone()).await).await;
    failing.with_requests_on_the_wire().await;
    server.disk.fill();
    failing.unready("No space left on device").await;
    failing.answers_come_meanwhile().await;
    // Each takes a new piece of the log, until there is no room for one.
    let longer = "select pg_logical_emit_message(true, '', repeat('x', 1000000))";
    eventually("the server ends", async || match sqlx::PgConnection::connect(&server.url).await {
        Ok(mut connection) => Err(connection.execute(longer).await.err()),
        // Not that it recovers, which it cannot without room either: nobody listens.
        Err(sqlx::Error::Io(_)) => Ok(()),
        Err(other) => Err(Some(other)),
    })
    .await;
    server.disk.clear();
    server.start_again().await;
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_postgres_that_is_silent_for_a_while_is_an_outage() {
    let failing = Failing::under_load().await;
    failing.with_requests_on_the_wire().await;
    failing.postgres.stall();
    failing.unready("").await;
    failing.answers_come_meanwhile().await;
    failing.postgres.resume();
    failing.ends_rightly().await;
}

/// The machine of the database is gone without a word, and another answers in its place: nobody tells
/// the connections to the old one.
#[tokio::test]
async fn connections_to_a_dead_machine_are_given_up() {
    let failing = Failing::under_load().await;
    failing.with_requests_on_the_wire().await;
    failing.postgres.strand();
    failing.answers_come_meanwhile().await;
    failing.ends_rightly().await;
}

#[tokio::test]
async fn a_slow_network_slows_and_breaks_nothing() {
    let failing = Failing::under_load().await;
    failing.postgres.slow(Duration::from_millis(100));
    failing.ends_rightly().await;
}
