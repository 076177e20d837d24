//! What a former owner has parked is read in pages, each row once.

use std::collections::BTreeMap;
use std::time::Duration;

use dispatcher::dispatch::ports::Upkeep;
use dispatcher::store::Store;
use sqlx::Executor;

use crate::support::db::TestDb;

/// Two accounts whose names sort otherwise in some languages, and jobs that wait for their slots, some of which
/// are due at the same time.
const ROWS: &str = "
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_room, on_unknown,
        digest, claim_id)
    select 'room-' || n, n, case when n % 2 = 0 then 'a_b' else 'ab' end, (13900000000 + n)::text,
        case when n % 3 = 0 then 'high' else 'bulk' end, 'x', 'waiting', 'rate_limited', now(), true, 'hold', '\\x00', n
    from generate_series(1, 45000) n;
    insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest,
        claim_id)
    select 'slot-' || n, 100000 + n, 'ab', (13800000000 + n % 1000)::text, 'normal', 'x', 'waiting',
        case when n % 2 = 0 then 'scheduled' else 'rate_limited' end, now() + n / 10 * interval '1 s', 'hold', '\\x00', n
    from generate_series(1, 50000) n;
    analyze jobs";

#[tokio::test]
async fn every_line_is_told_once() {
    let db = TestDb::create().await;
    let store = Store::new(&db.url.clone().into(), 1, Duration::from_secs(60)).unwrap();
    store.migrate().await.unwrap();
    db.pool.execute(sqlx::raw_sql(ROWS)).await.unwrap();
    let mut jobs = BTreeMap::new();
    let mut lines = 0;
    store
        .parked(&mut |line| {
            *jobs.entry((line.account, line.priority.as_str(), line.on_room)).or_insert(0) += line.jobs;
            lines += 1;
        })
        .await
        .unwrap();
    store.close().await;
    let line = |((account, priority, room), jobs): (&(String, &'static str, bool), &u32)| {
        (account.clone(), *priority, *room, *jobs)
    };
    let told: Vec<_> = jobs.iter().map(line).collect();
    let expected = [
        ("a_b", "bulk", true, 15_000),
        ("a_b", "high", true, 7_500),
        ("ab", "bulk", true, 15_000),
        ("ab", "high", true, 7_500),
        ("ab", "normal", false, 25_000),
    ];
    assert_eq!(told, expected.map(|(account, priority, room, jobs)| (account.to_owned(), priority, room, jobs)));
    assert!(lines < 45_000 + 3 * 500 + 1, "jobs of a number share the line of a page: {lines}");
}
