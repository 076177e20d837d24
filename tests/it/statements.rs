//! Statements find their rows by an index. One that reads a whole table is quick in a test, and takes
//! Postgres away from sending once there are millions of jobs.

mod duties;
mod pages;
mod parked;

use std::time::Duration;

use crate::callbacks::world::{World, reply};
use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

/// Whole reads of each table since it was created, and how often the duties' index was asked.
async fn whole_reads(stage: &Stage) -> Vec<(String, i64)> {
    let sql = "select relname::text, seq_scan from pg_stat_user_tables
         where relname in ('jobs', 'attempts', 'receipts', 'replies', 'suppressions') order by relname";
    sqlx::query_as(sql).fetch_all(&stage.db.pool).await.unwrap()
}

async fn statements(stage: &Stage) -> i64 {
    let sql =
        "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_user_indexes where indexrelname = 'jobs_expiring'";
    sqlx::query_scalar(sql).fetch_one(&stage.db.pool).await.unwrap()
}

#[tokio::test]
async fn no_statement_of_the_daemon_reads_a_whole_table() {
    let mut world = World::pushing(|receipts| receipts).await;
    world.stage.tempo.prune = Duration::from_millis(50);
    world.stage.migrate().await;
    // Building an index reads its table.
    let before = whole_reads(&world.stage).await;
    world.stage.start().await;
    let mut jobs: Vec<_> = (0..20).map(|n| job(&format!("job-{n}"), &number(n))).collect();
    jobs[0]["not_before"] = "2099-01-01T00:00:00Z".into();
    world.stage.publish("high", &jobs).await;
    // The test itself looks at nothing but statistics: its own reads would count.
    world.stage.metric("jobs_finished_total", &[("state", "delivered")], 19.0).await;
    world.stage.metric("jobs_waiting", &[("reason", "scheduled")], 1.0).await;
    world.push("reply", reply(&number(1), "TD", chrono::Utc::now())).await;
    let seen = statements(&world.stage).await;
    becomes("the duties go on", true, async || statements(&world.stage).await > seen + 10).await;
    world.stage.stop().await;
    assert_eq!(whole_reads(&world.stage).await, before);
    world.stage.finish().await;
}
