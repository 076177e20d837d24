//! What the duties ask of Postgres reads few rows, also where its statistics are of a time when there were few.

use std::time::Duration;

use dispatcher::dispatch::ports::Upkeep;
use dispatcher::domain::job::Priority;
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

/// A campaign of 30,000 that was scheduled for one moment, as many that waited for the morning, and one that is retried
/// a second later, where there was nothing when Postgres looked last.
const DUE: &str = "
    alter table jobs set (autovacuum_enabled = off);
    analyze;
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest, claim_id)
    select 'job-' || n, n, 'main', (13900000000 + n)::text, 'bulk', 'x', 'waiting',
        case when n % 2 = 0 then 'scheduled' else 'quiet_hours' end, now() - interval '1 min', 'hold', '\\x00', n
    from generate_series(1, 60000) n;
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest, claim_id)
    values ('retried', 99999, 'main', '13800138000', 'high', 'x', 'waiting', 'retry', now(), 'hold', '\\x00', 0)";

#[tokio::test]
async fn a_retry_comes_out_before_a_campaign_that_was_due_earlier() {
    let db = with(DUE).await;
    for round in 0..3 {
        let looks = looked_at(&db, async |store| {
            let due = store.release_due(chrono::Utc::now(), 100).await.unwrap();
            let retried = due.first().is_some_and(|released| released.job.id == "retried");
            assert_eq!((due.len(), retried), if round == 0 { (101, true) } else { (100, false) });
        })
        .await;
        assert!(looks < 100 * 20, "{looks} rows and entries for 100 jobs");
        let looks = looked_at(&db, async |store| {
            assert_eq!(store.wake(chrono::Utc::now(), 100).await.unwrap().len(), 100);
        })
        .await;
        assert!(looks < 100 * 20, "{looks} rows and entries to wake 100 jobs");
    }
}

/// 30,000 that wait for the morning, and as many for room of an account that has just paused.
const STANDING: &str = "
    alter table jobs set (autovacuum_enabled = off);
    analyze;
    insert into accounts (name, state, reason, paused_at, paused_by) values ('main', 'paused', 'test', now(), 'gateway');
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest, claim_id,
        on_room)
    select 'job-' || n, n, 'main', (13900000000 + n)::text, 'bulk', 'x', 'waiting',
        case when n % 2 = 0 then 'rate_limited' else 'quiet_hours' end,
        now() + interval '8 hours' + n * interval '1 ms', 'hold', '\\x00', n, n % 2 = 0
    from generate_series(1, 60000) n";

#[tokio::test]
async fn whom_a_rule_holds_no_more_and_who_says_why_is_found_page_by_page() {
    let db = with(STANDING).await;
    let mut after = None;
    for _ in 0..3 {
        let looks = looked_at(&db, async |store| {
            assert_eq!(store.lift(chrono::Utc::now(), &[Priority::Bulk], false, 100).await.unwrap(), 100);
        })
        .await;
        assert!(looks < 100 * 20, "{looks} rows and entries to lift 100 jobs");
        let looks = looked_at(&db, async |store| after = store.say_why("main", after, 100).await.unwrap()).await;
        assert!(after.is_some() && looks < 100 * 20, "{looks} rows and entries for 100 jobs");
    }
    assert_eq!(db.count("jobs where wait_reason = 'account_paused' and due_at is null").await, 300);
    let looks = looked_at(&db, async |store| {
        assert_eq!(store.lift(chrono::Utc::now(), &[Priority::High], false, 100).await.unwrap(), 0);
    })
    .await;
    assert!(looks < 100, "{looks} rows and entries where nobody wakes");
}

/// 60,000 jobs of one account, a thousand of them cancelled just now, and all the others changed just now, too.
const WITHDRAWN: &str = "
    alter table jobs set (autovacuum_enabled = off);
    analyze;
    insert into accounts (name, state) values ('main', 'active'), ('other', 'active');
    insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, digest, claim_id)
    select 'job-' || n, n, 'main', (13900000000 + n % 20000)::text, 'bulk', 'x',
        case when n % 60 = 0 then 'cancelled' else 'accepted' end, 'hold', '\\x00', n
    from generate_series(1, 60000) n";

#[tokio::test]
async fn lines_of_cancelled_jobs_are_found_and_measured_by_number() {
    let db = with(WITHDRAWN).await;
    let mut lines = Vec::new();
    let looks = looked_at(&db, async |store| {
        lines = store.cancelled(Duration::from_secs(60), 100).await.unwrap();
    })
    .await;
    assert!(lines.len() == 100 && looks < 100 * 20, "{looks} rows and entries for {} lines", lines.len());
    let looks = looked_at(&db, async |store| {
        assert_eq!(store.last_slots(&lines).await.unwrap(), vec![None; 100]);
    })
    .await;
    assert!(looks < 100 * 20, "{looks} rows and entries for 100 numbers");
    let looks = looked_at(&db, async |store| {
        assert!(store.cancelled(Duration::ZERO, 100).await.unwrap().is_empty());
    })
    .await;
    assert!(looks < 100, "{looks} rows and entries where nobody has cancelled");
}

/// 60,000 that wait for a slot of their numbers.
const SLOTS: &str = "
    alter table jobs set (autovacuum_enabled = off);
    analyze;
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest, claim_id)
    select 'job-' || n, n, 'main', (13900000000 + n)::text, 'bulk', 'x', 'waiting', 'rate_limited',
        now() + interval '8 hours' + n * interval '1 ms', 'hold', '\\x00', n
    from generate_series(1, 60000) n";

#[tokio::test]
async fn what_is_due_earlier_after_the_clock_was_put_back_is_moved_page_by_page() {
    let db = with(SLOTS).await;
    let (mut moved, mut after) = (0, None);
    for _ in 0..3 {
        let looks = looked_at(&db, async |store| {
            let page = store.put_forward(chrono::TimeDelta::hours(1), after.clone(), 100).await.unwrap();
            (moved, after) = (moved + page.0, page.1);
        })
        .await;
        assert!(looks < 100 * 20, "{looks} rows and entries for 100 jobs");
    }
    let earlier = "jobs where due_at < now() + interval '7 hours 30 minutes'";
    assert_eq!((moved, db.count(earlier).await), (300, 300), "each once");
}
