//! What is old goes while sending goes on.

use std::time::Duration;

use crate::support::stage::Stage;
use crate::support::{becomes, job, number};

#[tokio::test]
async fn long_tables_shrink_in_batches_while_jobs_are_sent() {
    let mut stage = Stage::new().await;
    stage.migrate().await;
    stage
        .db
        .execute(
            "insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, digest, claim_id, updated_at)
             select 'old-' || n, n, 'main', '13800138000', 'bulk', 'x', 'accepted', 'hold', '\\x00', n,
                 now() - interval '91 d'
             from generate_series(1, 20000) n",
        )
        .await;
    stage
        .db
        .execute("insert into attempts (job_id, attempt, account) select 'old-' || n, 1, 'main' from generate_series(1, 20000) n")
        .await;
    stage
        .db
        .execute(
            "insert into rejections (reason, detail, body, properties, received_at)
             select 'bad_json', 'x', 'x', '{}', now() - interval '8 d' from generate_series(1, 20000)",
        )
        .await;
    stage
        .db
        .execute(
            "insert into operations (actor, via, action, target, at)
             select 'x', 'cli', 'pause', '{}', now() - make_interval(days => n) from generate_series(1, 14) n",
        )
        .await;
    stage.set("retention.rejections", "7d");
    stage.tempo.prune = Duration::from_millis(100);
    stage.start().await;
    let jobs: Vec<_> = (0..50).map(|n| job(&format!("new-{n}"), &number(n))).collect();
    stage.publish("normal", &jobs).await;
    becomes("all of them are sent", 50, async || {
        stage.db.count("jobs where id like 'new-%' and state = 'accepted'").await
    })
    .await;
    becomes("what is old is gone", (0, 0, 0), async || {
        let jobs = stage.db.count("jobs where id like 'old-%'").await;
        let attempts = stage.db.count("attempts where job_id like 'old-%'").await;
        (jobs, attempts, stage.db.count("rejections").await)
    })
    .await;
    becomes("a week's notes are kept", 6, async || stage.db.count("operations").await).await;
    assert_eq!(stage.db.count("attempts").await, 50);
    stage.finish().await;
}
