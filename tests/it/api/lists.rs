//! Lists: every filter, pages, and what they cost among many jobs.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Client, with_tokens};
use crate::support::db::TestDb;
use crate::support::stage::Stage;

/// Jobs as a week leaves them, newest first in `n`: 1 in 50 failed with one of five codes, a few expired, in doubt or
/// waiting; account `small` has 1 in 1,000.
const WEEK: &str =
    "insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown,
         attempts, code, digest, claim_id, updated_at)
     select 'job-' || lpad(n::text, 8, '0'), n, case when n % 1000 = 7 then 'small' else 'main' end,
         (13800000000 + n % 50000)::text, 'normal', 'x',
         case when n % 50 = 7 then 'failed' when n % 5000 = 1 then 'expired' when n % 20000 = 2 then 'in_doubt'
             when n % 1000 = 3 then 'waiting' else 'accepted' end,
         case when n % 1000 = 3 then 'retry' end, case when n % 1000 = 3 then now() + interval '9 d' end, 'hold', 1,
         case when n % 50 = 7 then 4030 + (n / 50) % 5 when n % 20000 = 2 then null else 2 end, '\\x00', n,
         date_trunc('second', now()) - n * interval '20 ms'
     from generate_series(1, ROWS) n";

async fn week(db: &TestDb, rows: usize) {
    let sql = sqlx::AssertSqlSafe(WEEK.replace("ROWS", &rows.to_string()));
    sqlx::query(sql).execute(&db.pool).await.unwrap();
}

fn ids(page: &Value) -> Vec<String> {
    page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

/// All pages of a list, one after another.
async fn all(api: &Client, filter: &str, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = api.get("token-of-alice", &format!("/jobs?limit={limit}{filter}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        found.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn every_filter_finds_the_same_as_a_look_at_every_row() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    week(&stage.db, 20_000).await;
    let api = Client::of(&stage);
    let time: String = sqlx::query_scalar(
        "select to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from jobs where seq = 9000",
    )
    .fetch_one(&stage.db.pool)
    .await
    .unwrap();
    for (filter, condition) in [
        ("&state=failed", "state = 'failed'"),
        ("&state=failed,in_doubt,waiting,queued", "state in ('failed', 'in_doubt', 'waiting')"),
        ("&code=4032", "code = 4032"),
        ("&code=4032&state=accepted", "false"),
        ("&code=4032&state=failed&account=small", "code = 4032 and account = 'small'"),
        ("&account=small", "account = 'small'"),
        ("&account=nobody", "false"),
        ("&mobile=13800000007", "mobile = '13800000007'"),
        ("&mobile=13800000007&state=accepted&account=main&code=2", "false"),
        ("&state=expired&since=SINCE", "state = 'expired' and seq <= 9000"),
        ("&state=failed&until=SINCE", "state = 'failed' and seq > 9000"),
        ("&since=SINCE", "seq <= 9000"),
    ] {
        let sql = format!("select id from jobs where {condition} order by updated_at desc, id desc");
        let wanted: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&stage.db.pool).await.unwrap();
        let filter = filter.replace("SINCE", &time);
        assert_eq!(all(&api, &filter, 997).await, wanted, "{filter}");
    }
    let (status, problem) = api.get("token-of-alice", "/jobs?cursor=nonsense").await;
    assert_eq!(status, 400, "{problem}");
    stage.finish_with_backlog().await;
}

#[tokio::test]
async fn pages_stay_in_place_while_jobs_change() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    week(&stage.db, 100).await;
    let api = Client::of(&stage);
    let first = api.get("token-of-bob", "/jobs?limit=10").await.1;
    // One that was seen, and one that was not, come to the front.
    stage.db.execute("update jobs set updated_at = now() + interval '1 h' where seq in (5, 50)").await;
    let next = first["next_cursor"].as_str().unwrap();
    let second = api.get("token-of-bob", &format!("/jobs?limit=10&cursor={next}")).await.1;
    let wanted: Vec<String> = (11..=20).map(|n| format!("job-{n:08}")).collect();
    assert_eq!(ids(&second), wanted);
    stage.finish_with_backlog().await;
}

/// Time enough for a busy machine; a page that walks the table takes seconds.
const PAGE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_page_costs_little_among_many_jobs() {
    let mut stage = Stage::new().await;
    with_tokens(&mut stage);
    stage.start().await;
    week(&stage.db, 100_000).await;
    let api = Client::of(&stage);
    for filter in [
        "",
        "state=failed",
        "code=4031",
        "code=9",
        "account=small",
        "account=small&state=waiting",
        "state=queued",
        "mobile=13800000007",
        "state=in_doubt&account=nobody",
        "account=nobody",
        "state=accepted&account=nobody",
        "code=4033&account=small&state=failed",
        "state=accepted",
    ] {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            let (status, page) = api.get("token-of-alice", &format!("/jobs?{filter}")).await;
            assert_eq!(status, 200, "{page}");
            best = best.min(begun.elapsed());
        }
        println!("{filter:40} {best:?}");
        assert!(best < PAGE, "{filter}: {best:?}");
    }
    stage.finish_with_backlog().await;
}
