//! What the duties ask of Postgres reads few rows, also where its statistics are of a time when there were few.

use std::time::Duration;

use dispatcher::dispatch::ports::Upkeep;
use sqlx::Executor;
use tokio::time::timeout;

use super::pages::{looked_at, store};
use crate::support::db::TestDb;

/// Jobs of a replay.
const MANY: i64 = 20_000;

/// A replay of 20,000 jobs, all of them sent, of which those up to `ended` are accepted.
const REPLAYED: &str = "
    insert into replays (actor, via, filter, rate, matched) values ('alice', 'api', '{}', 1, 20000);
    alter table replay_jobs set (autovacuum_enabled = off);
    alter table jobs set (autovacuum_enabled = off);
    analyze;
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, on_unknown, digest, claim_id)
    select 'job-' || n, n, 'main', (13900000000 + n)::text, 'normal', 'x',
        case when n % 2 = 0 then 'accepted' else 'waiting' end, case when n % 2 = 1 then 'scheduled' end, 'hold', '\\x00', n
    from generate_series(1, 20000) n;
    insert into replay_jobs (replay_id, position, job_id, from_state, requests, result)
    select 1, n, case when n % 2000 = 0 then 'gone-' else 'job-' end || n, 'failed', 1, 'sent'
    from generate_series(1, 20000) n";

async fn with(rows: &'static str) -> TestDb {
    let db = TestDb::create().await;
    let store = store(&db);
    store.migrate().await.unwrap();
    store.close().await;
    db.pool.execute(sqlx::raw_sql(rows)).await.unwrap();
    db
}

#[tokio::test]
async fn the_results_of_a_replay_are_looked_up_one_by_one() {
    let db = with(REPLAYED).await;
    let looks = looked_at(&db, async |store| {
        let noted = timeout(Duration::from_secs(20), store.replay_results()).await;
        noted.expect("it does not look at each for each").unwrap();
    })
    .await;
    assert!(looks < MANY * 10, "{looks} rows and entries");
    let results = "select string_agg(result || ' ' || jobs, ', ' order by result) from (
        select result, count(*) as jobs from replay_jobs group by 1) as counted";
    let results: String = sqlx::query_scalar(results).fetch_one(&db.pool).await.unwrap();
    assert_eq!(results, "accepted 9990, sent 10000, skipped 10");
}
