//! A person is forgotten.

use crate::support::stage::Stage;
use crate::support::{Ended, dispatcher, job, number};

fn on(stage: &Stage, arguments: &[&str]) -> Ended {
    stage.environment().iter().fold(dispatcher(arguments), |run, (name, value)| run.env(name, value)).run()
}

/// The number in any spelling, and the text, in any column of any table.
async fn traces(stage: &Stage) -> Vec<String> {
    let tables = ["jobs", "attempts", "receipts", "replies", "rejections", "events", "operations"];
    let mut found = Vec::new();
    for table in tables {
        let rows = format!(
            "(select {table}::text || coalesce(convert_from(body, 'UTF8'), '') as row
              from (select *, null::bytea as body from {table}) {table}) t"
        );
        let rows = if table == "rejections" {
            "(select properties::text || detail || convert_from(body, 'UTF8') as row from rejections) t".to_owned()
        } else {
            rows
        };
        let is = "regexp_replace(row, '[ -]', '', 'g') ~ '13900000001|秘密'";
        found.push(format!("{table} {}", stage.db.count(&format!("{rows} where {is}")).await));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn number_and_texts_go_and_ids_counts_and_other_people_stay() {
    let mut stage = Stage::new().await;
    stage.set("events.enabled", "false");
    let mut secret = job("mine", &number(1));
    secret["content"] = "秘密".into();
    secret["metadata"] = serde_json::json!({ "name": "秘密" });
    let mut template = job("template", &number(1));
    template.as_object_mut().unwrap().remove("content");
    template["template_id"] = "1".into();
    template["variables"] = serde_json::json!(["秘密"]);
    let bad = serde_json::json!({ "id": "bad", "mobile": "139-0000 0001", "content": "秘密", "nonsense": 1 });
    stage.start().await;
    stage.publish("normal", [&secret, &template, &bad, &job("other", &number(2))]).await;
    stage.states("accepted 3").await;
    crate::support::becomes("the rejection", 1, async || stage.db.count("rejections").await).await;
    stage
        .db
        .execute("insert into receipts (smsid, mobile, code, digest, job_id) values ('1', '13900000001', 2, '\\x01', 'mine')")
        .await;
    stage.db.execute("insert into replies (mobile, content, digest) values ('13900000001', '秘密', '\\x01')").await;
    stage
        .db
        .execute("insert into events (job_id, type, data) values ('mine', 'job.accepted',
            '{\"id\": \"mine\", \"mobile\": \"13900000001\", \"metadata\": {\"a\": \"秘密\"}, \"state\": \"accepted\"}')")
        .await;
    stage
        .db
        .execute(
            "insert into operations (actor, via, action, target, reason)
            values ('bob', 'cli', 'pause', '{\"account\": \"main\"}', 'complaint of 13900000001')",
        )
        .await;
    stage.db.execute("insert into suppressions (mobile, reason, added_by) values ('13900000001', 'TD', 'reply')").await;
    let before = traces(&stage).await;
    let rehearsed = on(&stage, &["forget", "139 0000 0001", "--dry-run", "--json"]);
    assert_eq!(rehearsed.code, 0, "{rehearsed:?}");
    assert_eq!(traces(&stage).await, before, "a rehearsal changes nothing");
    let done = on(&stage, &["forget", "13900000001", "--yes", "--reason", "asked", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&told["mobile"], &told["rows"]["jobs"], &told["rows"]["rejections"]),
        (&"139****0001".into(), &2.into(), &1.into())
    );
    assert_eq!(serde_json::from_str::<serde_json::Value>(&rehearsed.stdout).unwrap()["rows"], told["rows"]);
    for table in traces(&stage).await {
        assert!(table.ends_with(" 0"), "{table}");
    }
    assert_eq!(stage.db.states().await, "accepted 3", "counts stay");
    assert_eq!(stage.db.job("other").await.unwrap().mobile, number(2));
    let noted =
        "operations where action = 'forget' and target ->> 'mobile' = '139****0001' and reason = 'asked' and count > 4";
    assert_eq!(stage.db.count(noted).await, 1);
    assert_eq!(stage.db.count("suppressions").await, 1, "who wants no messages still gets none");
    // A repeat is still known.
    stage.publish("normal", [&secret]).await;
    stage.metric("duplicates_total", &[], 1.0).await;
    assert_eq!(stage.gateway.submissions().len(), 3);
    let again = on(&stage, &["forget", "13900000001", "--yes"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "nothing is known of 139****0001\n"));
    let shown = on(&stage, &["jobs", "show", "mine", "--full"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_not_settled_stand_in_the_way_and_one_without_a_number_never_comes_back() {
    let mut stage = Stage::new().await;
    let mut later = job("later", &number(1));
    later["not_before"] = "2099-01-01T00:00:00Z".into();
    stage.start().await;
    stage.publish("normal", [&later, &job("now", &number(1))]).await;
    stage.states("accepted 1, waiting/scheduled 1").await;
    let ended = on(&stage, &["forget", &number(1), "--yes"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("later is waiting: dispatcher jobs cancel later"), "{ended:?}");
    assert_eq!(stage.db.count("jobs where mobile = ''").await, 0);
    stage.db.execute("update jobs set state = 'cancelled', wait_reason = null, due_at = null where id = 'later'").await;
    assert_eq!(on(&stage, &["forget", &number(1), "--yes"]).code, 0);
    let back = "update jobs set state = 'waiting', wait_reason = 'replay', due_at = now() where id = 'now'";
    let refused = sqlx::query(back).execute(&stage.db.pool).await.unwrap_err().to_string();
    assert!(refused.contains("jobs_forgotten_check"), "{refused}");
    stage.finish().await;
}

#[test]
fn without_a_terminal_it_wants_to_be_sure() {
    let ended = dispatcher(&["forget", "13900000001"]).run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("--yes"), "{ended:?}");
    assert_eq!(dispatcher(&["forget", "1234", "--yes"]).run().code, 2);
}
