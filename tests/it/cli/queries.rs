//! Commands that read and write a real Postgres.

use crate::support::{Run, TestDb, dispatcher};

pub fn on(db: &TestDb, arguments: &[&str]) -> Run {
    dispatcher(arguments).postgres(db.url()).env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
}

/// Three jobs: `a` failed, `b` was accepted after a retry, `c` waits. Their last changes are 1 h, 2 h
/// and 3 h ago.
fn database() -> TestDb {
    let db = TestDb::create();
    on(&db, &["migrate"]).ok();
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, template_id, variables, state, wait_reason,
             due_at, on_unknown, attempts, code, message, metadata, digest, claim_id, created_at, updated_at)
         values
         ('a', 1, 'main', '13800138001', 'high', '秘密一', null, null, 'failed', null, null, 'hold', 1, 4030,
             '黑名单', '{\"n\": 12345678901234567890}', '\\x00', 1, now() - interval '2 h', now() - interval '1 h'),
         ('b', 2, 'main', '13800138002', 'normal', '秘密二', null, null, 'accepted', null, null, 'hold', 2, 2,
             '提交成功', null, '\\x00', 2, now() - interval '3 h', now() - interval '2 h'),
         ('c', 3, 'other', '13800138003', 'bulk', null, '7', '[\"顺丰\", \"1\"]', 'waiting', 'scheduled',
             now() + interval '1 h', 'hold', 0, null, null, null, '\\x00', 3, now() - interval '4 h',
             now() - interval '3 h');
         insert into attempts (job_id, attempt, account, outcome, code, message, smsid, started_at, finished_at)
         values
         ('b', 1, 'main', 'retry', 4080, 'x', null, now() - interval '3 h', now() - interval '2 h 59 min'),
         ('b', 2, 'main', 'accepted', 2, '提交成功', '15', now() - interval '2 h 1 min', now() - interval '2 h');
         insert into rejections (reason, detail, body, properties)
         values ('bad_field', '`mobile` must have 11 digits', '{\"mobile\":\"1380013800\"}', '{\"routing_key\":\"bulk.1380013800\",\"app_id\":\"shop-20261111\"}'),
                ('bad_json', 'the body is no UTF-8', '\\xff', '{}')",
    );
    db
}

fn ids(list: &serde_json::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

#[test]
fn migrate_can_be_repeated() {
    let db = TestDb::create();
    let first = on(&db, &["migrate"]).ok();
    assert!(first.starts_with("the database is up to date: ") && first.ends_with(" migration(s) applied\n"), "{first}");
    assert_eq!(on(&db, &["migrate"]).ok(), "the database is up to date\n");
    assert_eq!(on(&db, &["migrate", "--json"]).json(), serde_json::json!({"up_to_date": true, "applied": 0}));
}

#[test]
fn jobs_are_listed_by_their_last_change_and_filtered() {
    let db = database();
    for (flags, expected) in [
        (&[][..], &["a", "b", "c"][..]),
        (&["--state", "failed,accepted"], &["a", "b"]),
        (&["--code", "4030"], &["a"]),
        (&["--account", "other"], &["c"]),
        (&["--mobile", "+86 138-0013-8002"], &["b"]),
        (&["--since", "90m"], &["a"]),
        (&["--until", "150m"], &["c"]),
        (&["--since", "150m", "--until", "90m"], &["b"]),
        (&["--state", "expired"], &[]),
    ] {
        let flags: Vec<&str> = ["jobs", "list", "--json"].iter().chain(flags).copied().collect();
        assert_eq!(ids(&on(&db, &flags).json()), expected, "{flags:?}");
    }
    let noted = "operations where action = 'search' and via = 'cli' and count = 1";
    assert_eq!((db.count(&format!("{noted} and target ->> 'mobile' = '138****8002'")), db.count("operations")), (1, 1));
}

#[test]
fn pages_follow_one_another() {
    let db = database();
    let first = on(&db, &["jobs", "list", "--json", "--limit", "2"]).run();
    assert_eq!(ids(&serde_json::from_str(&first.stdout).unwrap()), ["a", "b"]);
    let cursor = first.stderr.trim().rsplit(' ').next().unwrap();
    let second = on(&db, &["jobs", "list", "--json", "--limit", "2", "--cursor", cursor]).run();
    assert_eq!((second.code, second.stderr.as_str()), (0, ""), "{second:?}");
    assert_eq!(ids(&serde_json::from_str(&second.stdout).unwrap()), ["c"]);
}

#[test]
fn numbers_and_texts_are_masked_unless_asked_for() {
    let db = database();
    for arguments in [&["jobs", "list"][..], &["jobs", "list", "--json"], &["jobs", "show", "a"]] {
        let shown = on(&db, arguments).ok();
        assert!(shown.contains("138****8001"), "{shown}");
        assert!(!shown.contains("13800138001") && !shown.contains("秘密"), "{shown}");
    }
    let shown = on(&db, &["jobs", "show", "a", "--full"]).ok();
    assert!(shown.contains("13800138001") && shown.contains("秘密一"), "{shown}");
    let shown = on(&db, &["jobs", "show", "c", "--json"]).json();
    assert_eq!(shown["variables"], serde_json::json!(["[2 characters]", "[1 characters]"]));
    assert_eq!(on(&db, &["jobs", "show", "c", "--json", "--full"]).json()["variables"][0], "顺丰");
}

#[test]
fn a_table_is_for_people() {
    let db = database();
    let table = on(&db, &["jobs", "list"]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("ID  STATE") && lines[0].contains("CHANGED (+08:00)"), "{table}");
    assert!(lines[3].starts_with("c   waiting (scheduled)"), "{table}");
    assert_eq!(on(&db, &["jobs", "list", "--state", "expired"]).ok(), "nothing found\n");
}

#[test]
fn a_job_is_shown_with_its_attempts_and_what_comes_next() {
    let db = database();
    let job = on(&db, &["jobs", "show", "b", "--json"]).json();
    assert_eq!((&job["state"], &job["code"]), (&"accepted".into(), &2.into()));
    let attempts: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(attempts, ["retry", "accepted"]);
    let story = on(&db, &["jobs", "show", "b"]).ok();
    assert!(story.contains("request 1 by account main: retry after 60000 ms; code 4080"), "{story}");
    assert!(on(&db, &["jobs", "show", "c"]).ok().contains("Next: account other is not in this configuration: "));
    assert!(on(&db, &["jobs", "show", "a", "--json"]).ok().contains("12345678901234567890"), "digits are kept");
}

#[test]
fn an_unknown_job_exits_1_with_a_hint() {
    let db = database();
    let ended = on(&db, &["jobs", "show", "nobody"]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("dispatcher rejections list"), "{ended:?}");
}

#[test]
fn rejections_show_the_message_only_when_asked() {
    let db = database();
    let list = on(&db, &["rejections", "list", "--json"]).json();
    assert_eq!((&list[0]["reason"], &list[1]["reason"]), (&"bad_json".into(), &"bad_field".into()));
    let filtered = on(&db, &["rejections", "list", "--json", "--reason", "bad_field"]).json();
    assert_eq!(filtered.as_array().unwrap().len(), 1);
    for flags in [&[][..], &["--json"]] {
        let flags: Vec<&str> = ["rejections", "show", "1"].iter().chain(flags).copied().collect();
        let shown = on(&db, &flags).ok();
        assert!(shown.contains("`mobile` must have 11 digits") && !shown.contains("1380013800"), "{shown}");
        assert!(shown.contains("bulk.****") && shown.contains("shop-20261111"), "{shown}");
        let full: Vec<&str> = flags.iter().copied().chain(["--full"]).collect();
        assert!(on(&db, &full).ok().contains("1380013800"));
    }
    assert_eq!(on(&db, &["rejections", "show", "99"]).run().code, 1);
}

#[test]
fn accounts_are_paused_and_resumed_by_hand() {
    let db = database();
    let pause = ["accounts", "pause", "main", "--reason", "模板审核", "--json"];
    assert_eq!(on(&db, &pause).json()["changed"], true, "although no daemon has entered the account yet");
    assert_eq!(on(&db, &pause).json()["changed"], false);
    let list = on(&db, &["accounts", "list", "--json"]).json();
    assert_eq!((&list[0]["name"], &list[0]["state"]), (&"main".into(), &"paused".into()));
    assert_eq!((&list[0]["paused_by"], &list[0]["reason"]), (&"operator".into(), &"模板审核".into()));
    assert!(on(&db, &["accounts", "list"]).ok().contains("模板审核"));
    assert_eq!(on(&db, &["accounts", "resume", "main"]).ok(), "account main is active now\n");
    assert_eq!(on(&db, &["accounts", "resume", "main"]).ok(), "account main was active already\n");
    let ended = on(&db, &["accounts", "pause", "nobody"]).run();
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("name one of main"), "{ended:?}");
}

#[test]
fn a_database_without_the_tables_is_named() {
    let db = TestDb::create();
    let ended = on(&db, &["jobs", "list"]).run();
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("dispatcher migrate"), "{ended:?}");
}
