//! A person is forgotten.

use crate::support::stage::Stage;
use crate::support::{Ended, TestDb, dispatcher, job, number};

fn on(stage: &Stage, arguments: &[&str]) -> Ended {
    stage.environment().iter().fold(dispatcher(arguments), |run, (name, value)| run.env(name, value)).run()
}

/// The number in any spelling, and the text, in any column of any table but that of those who want no messages.
async fn traces(stage: &Stage) -> Vec<String> {
    let tables = "select table_name::text from information_schema.tables where table_schema = 'public'
        and table_type = 'BASE TABLE' and table_name not in ('suppressions', '_sqlx_migrations') order by 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&stage.db.pool).await.unwrap();
    let mut found = Vec::new();
    for table in tables {
        let row = if table == "rejections" {
            // No text for sure: what is above ASCII is octal there.
            "properties::text || detail || encode(body, 'escape')".into()
        } else {
            format!("{table}::text")
        };
        let digits = format!("regexp_replace(translate({row}, '０１３９', '0139'), '[^0-9]', '', 'g') ~ '13900000001'");
        found.push(format!("{table} {}", stage.db.count(&format!("{table} where {digits} or {row} ~ '秘密'")).await));
    }
    assert!(found.len() >= 10, "{found:?}");
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
    quote(&stage).await;
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

/// The number where somebody quotes it: ihuyi, or an operator; and as ihuyi may push it.
async fn quote(stage: &Stage) {
    for quoting in [
        "update jobs set message = '号码 139-0000-0001 在黑名单' where id = 'mine'",
        "update attempts set message = '号码13900000001在黑名单' where job_id = 'mine'",
        "insert into receipts (smsid, message, digest) values ('2', '号码 139 0000 0001 停机', '\\x02')",
        "insert into receipts (smsid, mobile, digest) values ('3', '0086(139)00000001', '\\x03')",
        "insert into receipts (smsid, mobile, digest, job_id) values ('4', 'nobody', '\\x04', 'mine')",
        "insert into replies (mobile, content, digest) values ('0086(139)00000001', '秘密', '\\x02')",
        "insert into events (job_id, type, data) values ('mine', 'job.failed',
            '{\"id\": \"mine\", \"mobile\": \"13900000001\", \"metadata\": null, \"message\": \"号码13900000001在黑名单\"}')",
        "insert into operations (actor, via, action, target, reason)
            values ('bob', 'cli', 'pause', '{\"jobs\": [\"13900000001\"]}', 'complaint of (139) 0000-0001')",
        "insert into replays (actor, via, filter, rate, matched, reason, state, finished_at)
            values ('bob', 'cli', '{}', 1, 0, 'for 139.0000.0001', 'done', now())",
    ] {
        stage.db.execute(quoting).await;
    }
}

/// Where the number stands in a message that was refused, perhaps for its very spelling.
const REFUSED: [&[u8]; 12] = [
    b"{\"mobile\": \"139.0000.0001\"}",
    b"{\"mobile\": \"(139)00000001\"}",
    b"{\"mobile\": \"139\\t0000\\t0001\"}",
    b"{\"mobile\": \"139\t0000\n0001\"}",
    b"{\"mobile\": 13900000001}",
    b"{\"mobile\": [\"139\", \"0000\", \"0001\"]}",
    b"{\"mobile\": \"\\u0031\\u003390000\\u003000\\u00a01\"}",
    b"{\"mobile\": \"\\uff11\\uFF1390000\\u30000001\"}",
    "{\"mobile\": \"１３９００００ ０００１\"}".as_bytes(),
    "号码：139（0000）0001".as_bytes(),
    b"\xba\xc5\xc2\xeb 13900000001 \xff\xfe",
    b"1\x003\x009\x000\x000\x000\x000\x000\x000\x000\x001\x00",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_goes_whatever_its_number_was_refused_for() {
    let stage = Stage::new().await;
    stage.migrate().await;
    let insert = "insert into rejections (reason, detail, body, properties) values ('bad_json', $1, $2, $3::jsonb)";
    let refuse = async |detail: &str, body: &[u8], properties: &str| {
        sqlx::query(insert).bind(detail).bind(body).bind(properties).execute(&stage.db.pool).await.unwrap();
    };
    for body in REFUSED {
        refuse("theirs", body, "{}").await;
    }
    // Across what is read at a time, behind more than a megabyte.
    let long = [vec![b'x'; (1 << 20) - 7], REFUSED[0].to_vec(), vec![0xff; 1 << 20]].concat();
    refuse("theirs", &long, "{}").await;
    refuse("theirs", b"{", r#"{"routing_key": "normal.(139)0000.0001"}"#).await;
    for other in ["{\"mobile\": \"13900000002\"}", "{\"id\": \"1390000\"}", "号码", ""] {
        refuse("another's", other.as_bytes(), r#"{"routing_key": "normal.13900000002"}"#).await;
    }
    let ended = on(&stage, &["forget", "13900000001", "--yes", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let kept = sqlx::query_as::<_, (i64, String)>("select id, detail from rejections where body <> '' order by id");
    let kept = kept.fetch_all(&stage.db.pool).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(), vec!["another's"; 3], "{kept:?}");
    assert_eq!(stage.db.count("rejections where detail = 'theirs' and properties = '{}'").await, 14);
    stage.finish_without_queues().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_number_is_left_to_ihuyi_can_be_found_spared_and_forgotten() {
    let mut stage = Stage::new().await;
    stage.set("checks.mobile", "false");
    stage.start().await;
    let mut odd = job("odd", "128 0013 8000");
    odd["metadata"] = serde_json::json!({ "to": "+86 128-0013-8000" });
    stage.publish("normal", [&odd]).await;
    // ihuyi knows no such number: 406.
    stage.states("failed 1").await;
    let found = on(&stage, &["jobs", "list", "--mobile", "12800138000", "--json"]);
    assert!(found.code == 0 && found.stdout.contains("128****8000"), "{found:?}");
    let spared = on(&stage, &["suppressions", "add", "128 0013 8000", "--reason", "called from 12800138000"]);
    assert_eq!(spared.code, 0, "{spared:?}");
    assert_eq!(stage.db.count("operations where reason = 'called from 128****8000'").await, 1);
    assert_eq!(on(&stage, &["forget", "12800138000", "--yes"]).code, 0);
    assert_eq!(stage.db.count("jobs where mobile = '' and metadata is null").await, 1);
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
fn without_a_terminal_it_is_done_and_nobody_is_asked() {
    let db = TestDb::create();
    let on = |arguments: &[&str]| {
        dispatcher(arguments).postgres(db.url()).env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001").run()
    };
    assert_eq!(on(&["migrate"]).code, 0);
    for (flags, told) in [(&[][..], "139****0001 is forgotten"), (&["--json"], "\"forgotten\": true")] {
        db.execute("insert into replies (mobile, content, digest) values ('13900000001', '秘密', '\\x01')");
        let arguments: Vec<&str> = ["forget", "13900000001"].iter().chain(flags).copied().collect();
        let ended = on(&arguments);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        assert!(ended.stdout.contains(told), "{ended:?}");
        assert_eq!(db.count("replies where mobile = '13900000001' or content = '秘密'"), 0);
        db.execute("delete from replies");
    }
    assert_eq!(on(&["forget", "1234"]).code, 2);
}
