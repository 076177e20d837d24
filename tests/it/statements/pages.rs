//! A page of a list looks at few rows, whatever is asked for, by Postgres' own counts: heaps and entries of
//! indexes. The tables are skewed as real ones are, so that a plan which trusts averages reads all.

use std::time::Duration;

use dispatcher::domain::job::State;
use dispatcher::domain::message::RejectReason;
use dispatcher::domain::mobile::Mobile;
use dispatcher::store::Store;
use dispatcher::store::query::{Cursor, JobFilter, ReceiptFilter, RejectionFilter};
use sqlx::Executor;

use crate::support::becomes;
use crate::support::db::TestDb;

/// Rows of a page.
const LIMIT: u32 = 20;
/// What may be looked at for it: the page twice, its ids first, and the heads of some ranges.
const FEW: i64 = 200;
/// Jobs of the number that has most.
const HOT: i64 = 3_000;

/// Account `main` has nearly all jobs, `tiny` a few old ones; one number has every tenth job; failures are rare, and
/// with code 4085 there are three.
const ROWS: &str = "
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, attempts,
        requests, code, digest, claim_id, updated_at)
    select 'job-' || n, n, case when n % 1000 = 7 and n > 20000 then 'tiny' else 'main' end,
        case when n % 10 = 3 then '13800138000' else (13900000000 + n)::text end, 'normal', 'x', state,
        case when state = 'waiting' then 'scheduled' end, case when state = 'waiting' then now() + interval '9 d' end,
        'hold', 1, 1, case when n > 29900 and state = 'failed' then 4085 when state = 'failed' then 4030
            when state <> 'waiting' then 2 end,
        '\\x00', n, now() - n * interval '1 s'
    from (select n, case when n % 50 = 5 then 'failed' when n % 500 = 11 then 'waiting' when n % 5 = 1 then 'accepted'
        else 'delivered' end as state from generate_series(1, 30000) n) as numbered;
    insert into receipts (smsid, mobile, code, received_at, job_id, digest)
    select n::text, '13900000001', 2, now() - n * interval '1 s', case when n < 29950 then 'job-' || n end, n::text::bytea
    from generate_series(1, 30000) n;
    insert into rejections (reason, detail, body, properties, received_at)
    select case when n > 29990 then 'id_conflict' else 'bad_json' end, 'x', 'x', '{}', now() - n * interval '1 s'
    from generate_series(1, 30000) n;
    insert into suppressions (mobile, reason, added_by, added_at)
    select (13900000000 + n)::text, 'TD', 'reply', now() - n * interval '1 s' from generate_series(1, 30000) n;
    insert into operations (at, actor, via, action, target)
    select now() + n * interval '1 s', 'alice', 'api', 'resolve',
        jsonb_build_object('jobs', jsonb_build_array('job-' || n))
    from generate_series(1, 30000) n;
    insert into replays (actor, via, filter, rate, matched) values ('alice', 'api', '{}', 1, 30000);
    insert into replay_jobs (replay_id, position, job_id, from_state, requests, result)
    select 1, n, 'job-' || n, 'failed', 1, case when n > 29990 then 'skipped' else 'accepted' end
    from generate_series(1, 30000) n";

async fn many() -> TestDb {
    let db = TestDb::create().await;
    let store = store(&db);
    store.migrate().await.unwrap();
    store.close().await;
    db.pool.execute(sqlx::raw_sql(ROWS)).await.unwrap();
    // Index entries of pages that Postgres knows to be visible need no look at the page.
    db.execute("vacuum analyze").await;
    db
}

pub(super) fn store(db: &TestDb) -> Store {
    Store::new(&db.url.clone().into(), 1, Duration::from_secs(60)).unwrap()
}

/// Rows of any table and entries of any index that were looked at so far.
async fn looks(db: &TestDb) -> i64 {
    let sql = "select ((select sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_user_tables)
         + (select sum(idx_tup_read) from pg_stat_user_indexes))::bigint";
    sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap()
}

/// What `list` has to look at. The counts of a connection are in once it has ended.
pub(super) async fn looked_at(db: &TestDb, list: impl AsyncFnOnce(&Store)) -> i64 {
    let before = looks(db).await;
    let store = store(db);
    list(&store).await;
    store.close().await;
    let connected = "pg_stat_activity where application_name = 'dispatcher' and datname = current_database()";
    becomes("the connection has ended", 0, async || db.count(connected).await).await;
    looks(db).await - before
}

/// Behind the rows of 25,000 seconds.
async fn deep(db: &TestDb, id: &str) -> Cursor {
    let sql = "select (extract(epoch from now() - interval '25000 s') * 1000000)::bigint";
    let at: i64 = sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap();
    let id: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{at:016x}{id}").parse().unwrap()
}

#[tokio::test]
async fn a_page_of_jobs_by_any_filter() {
    let db = many().await;
    let all = JobFilter { limit: LIMIT, ..JobFilter::default() };
    let cursor = Some(deep(&db, "job-5").await);
    let ago = |seconds| Some(chrono::Utc::now() - chrono::TimeDelta::seconds(seconds));
    let of = |states: &[State]| JobFilter { states: states.into(), ..all.clone() };
    let by = |account: &str, filter: JobFilter| JobFilter { account: Some(account.into()), ..filter };
    let coded = |code, filter: JobFilter| JobFilter { code: Some(code), ..filter };
    let filters = [
        all.clone(),
        of(&[State::Failed]),
        of(&[State::Failed, State::Waiting, State::Expired]),
        by("tiny", all.clone()),
        by("tiny", of(&[State::Delivered])),
        by("tiny", of(&[State::Failed])),
        by("nobody", all.clone()),
        by("nobody", of(&[State::Delivered])),
        coded(2, all.clone()),
        coded(4085, all.clone()),
        coded(9, all.clone()),
        coded(4085, by("main", of(&[State::Failed]))),
        coded(4030, by("tiny", all.clone())),
        coded(4030, of(&[State::Delivered])),
    ];
    for filter in filters {
        for (since, until, cursor) in
            [(None, None, None), (ago(26_000), ago(25_000), None), (ago(28_000), None, cursor.clone())]
        {
            let filter = JobFilter { since, until, cursor, ..filter.clone() };
            let looks = looked_at(&db, async |store| drop(store.list_jobs(&filter).await.unwrap())).await;
            assert!(looks <= FEW, "{looks} rows and entries for {filter:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_one_numbers_jobs_reads_no_others_and_no_rows_that_do_not_pass() {
    let db = many().await;
    let mobile = Mobile::parse("13800138000").ok();
    let all = JobFilter { mobile, limit: LIMIT, ..JobFilter::default() };
    let looks = looked_at(&db, async |store| drop(store.list_jobs(&all).await.unwrap())).await;
    assert!(looks <= FEW, "{looks} rows and entries");
    for filter in [
        JobFilter { states: vec![State::Failed], ..all.clone() },
        JobFilter { account: Some("tiny".into()), ..all.clone() },
        JobFilter { code: Some(4085), states: vec![State::Delivered], ..all.clone() },
    ] {
        let rows = "select coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'jobs'";
        let before: i64 = sqlx::query_scalar(rows).fetch_one(&db.pool).await.unwrap();
        let looks = looked_at(&db, async |store| drop(store.list_jobs(&filter).await.unwrap())).await;
        assert!(looks <= HOT + FEW, "{looks} rows and entries for {filter:?}");
        let after: i64 = sqlx::query_scalar(rows).fetch_one(&db.pool).await.unwrap();
        assert!(after - before <= FEW, "{} rows for {filter:?}", after - before);
    }
}

#[tokio::test]
async fn a_page_of_the_other_lists_and_a_jobs_story() {
    let db = many().await;
    let cursor = Some(deep(&db, "5").await);
    let until = Some(chrono::Utc::now() - chrono::TimeDelta::seconds(25_000));
    let receipts = ReceiptFilter { limit: LIMIT, ..ReceiptFilter::default() };
    for filter in [
        ReceiptFilter { unmatched: true, ..receipts.clone() },
        ReceiptFilter { smsid: Some("29000".into()), ..receipts.clone() },
        ReceiptFilter { until, ..receipts.clone() },
        ReceiptFilter { cursor: cursor.clone(), ..receipts.clone() },
    ] {
        let looks = looked_at(&db, async |store| drop(store.list_receipts(&filter).await.unwrap())).await;
        assert!(looks <= FEW, "{looks} rows and entries for {filter:?}");
    }
    let rejections = RejectionFilter { limit: LIMIT, ..RejectionFilter::default() };
    for filter in [
        rejections.clone(),
        RejectionFilter { reason: Some(RejectReason::IdConflict), ..rejections.clone() },
        RejectionFilter { reason: Some(RejectReason::BadJson), ..rejections.clone() },
        RejectionFilter { reason: Some(RejectReason::BadJson), cursor: cursor.clone(), ..rejections.clone() },
        RejectionFilter { until, ..rejections.clone() },
        RejectionFilter { cursor: cursor.clone(), ..rejections.clone() },
    ] {
        let looks = looked_at(&db, async |store| drop(store.list_rejections(&filter).await.unwrap())).await;
        assert!(looks <= FEW, "{looks} rows and entries for {filter:?}");
    }
    // The longest page of the reason that nearly all have: neither sorted nor all read.
    let long = RejectionFilter { reason: Some(RejectReason::BadJson), limit: 1_000, ..rejections };
    let looks = looked_at(&db, async |store| drop(store.list_rejections(&long).await.unwrap())).await;
    assert!(looks <= 2 * 1_000 + FEW, "{looks} rows and entries for {long:?}");
    let cursor = deep(&db, "13900000005").await;
    for cursor in [None, Some(&cursor)] {
        let looks = looked_at(&db, async |store| drop(store.list_suppressions(LIMIT, cursor).await.unwrap())).await;
        assert!(looks <= FEW, "{looks} rows and entries of suppressions");
    }
    for (result, after) in [(None, 20_000), (Some("skipped"), 0), (Some("failed"), 0)] {
        let looks = looked_at(&db, async |store| drop(store.replay_jobs(1, result, after, LIMIT).await.unwrap())).await;
        assert!(looks <= FEW, "{looks} rows and entries of a replay for {result:?}");
    }
    let looks = looked_at(&db, async |store| drop(store.dossier("job-29000").await.unwrap())).await;
    assert!(looks <= FEW, "{looks} rows and entries for a story");
}
