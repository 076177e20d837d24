//! The commands that show what ihuyi said, and the suppression list.

use crate::support::{Run, TestDb, dispatcher};

fn on(db: &TestDb, arguments: &[&str]) -> Run {
    dispatcher(arguments).postgres(db.url()).env("SUDO_USER", "alice")
}

/// An undelivered job with a receipt, a contradiction and a reply, and a receipt of a stranger.
fn database() -> TestDb {
    let db = TestDb::create();
    on(&db, &["migrate"]).ok();
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, attempts, code, message,
             smsid, digest, claim_id)
         values ('a', 1, 'main', '13800138001', 'high', '秘密', 'undelivered', 'hold', 1, 7, '空号', '77', '\\x00', 1);
         insert into receipts (smsid, mobile, code, message, reported_at, received_at, job_id, digest) values
             ('77', '13800138001', 7, '空号', now() - interval '3 h', now() - interval '3 h', 'a', '\\x01'),
             ('77', '13800138001', 2, '发送成功', now() - interval '2 h', now() - interval '2 h', 'a', '\\x02'),
             ('78', '13800138002', 2, '138 0013 8002 发送成功, 13900139000', now() - interval '1 h', now() - interval '1 h', null, '\\x03');
         insert into replies (mobile, content, job_id, digest) values ('13800138001', '绝密', 'a', '\\x01')",
    );
    db
}

#[test]
fn a_jobs_story_has_its_receipts_and_replies() {
    let db = database();
    let job = on(&db, &["jobs", "show", "a", "--json"]).json();
    let codes: Vec<_> = job["receipts"].as_array().unwrap().iter().map(|row| row["code"].clone()).collect();
    assert_eq!(codes, [7, 2]);
    assert_eq!((&job["replies"][0]["content"], &job["code"]), (&"[2 characters]".into(), &7.into()));
    assert_eq!(job["receipts"][0]["mobile"], "138****8001");
    let story = on(&db, &["jobs", "show", "a"]).ok();
    assert!(story.contains("receipt of ihuyi: not delivered, code 7; “空号”"), "{story}");
    assert!(story.contains("receipt of ihuyi: delivered, code 2") && !story.contains("绝密"), "{story}");
    assert!(on(&db, &["jobs", "show", "a", "--full"]).ok().contains("answered: “绝密”"));
}

#[test]
fn receipts_are_listed_and_those_without_a_job_found() {
    let db = database();
    let smsids = |flags: &[&str]| {
        let flags: Vec<&str> = ["receipts", "list", "--json"].iter().chain(flags).copied().collect();
        let list = on(&db, &flags).json();
        list.as_array().unwrap().iter().map(|row| row["smsid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(smsids(&[]), ["78", "77", "77"]);
    assert_eq!(smsids(&["--unmatched"]), ["78"]);
    assert_eq!(smsids(&["--smsid", "77", "--since", "150m"]), ["77"]);
    assert_eq!(smsids(&["--until", "150m"]), ["77"]);
    let page = on(&db, &["receipts", "list", "--limit", "1"]).run();
    assert!(page.stdout.contains("138****8002") && !page.stdout.contains("13800138002"), "{page:?}");
    assert!(page.stdout.contains("138****8002 发送成功, 139****9000"), "in ihuyi's words, too: {page:?}");
    let cursor = page.stderr.trim().rsplit(' ').next().unwrap();
    assert_eq!(smsids(&["--cursor", cursor]), ["77", "77"]);
    assert!(on(&db, &["receipts", "list", "--full"]).ok().contains("13800138002"));
}

#[test]
fn the_suppression_list_is_changed_by_hand_and_on_record() {
    let db = database();
    assert_eq!(on(&db, &["suppressions", "list"]).ok(), "nothing found\n");
    let add = ["suppressions", "add", "+86 138-0013-8001", "--reason", "电话要求"];
    assert_eq!(on(&db, &add).ok(), "138****8001 is suppressed now\n");
    assert_eq!(on(&db, &add).ok(), "138****8001 was suppressed already\n");
    let list = on(&db, &["suppressions", "list", "--json"]).json();
    assert_eq!((&list[0]["mobile"], &list[0]["reason"]), (&"138****8001".into(), &"电话要求".into()));
    // Whom sudo names counts for root only: anybody can set a variable.
    let by = list[0]["added_by"].as_str().unwrap();
    assert!(by == "root (sudo: alice)" || !by.contains("alice"), "{by}");
    assert!(on(&db, &["suppressions", "list", "--full"]).ok().contains("13800138001"));
    let remove = ["suppressions", "remove", "13800138001", "--json"];
    assert_eq!(on(&db, &remove).json()["changed"], true);
    assert_eq!(on(&db, &remove).json()["changed"], false);
    // Each is on record with what it changed, the number masked.
    db.execute(
        "do $$ begin
             assert (select count(*) from operations where via = 'cli') = 4;
             assert (select count(distinct actor) from operations) = 1;
             assert (select sum(count) from operations where action = 'suppress') = 1;
             assert (select sum(count) from operations where action = 'unsuppress') = 1;
             assert (select bool_and(target = '{\"mobile\": \"138****8001\"}') from operations);
             assert (select count(*) from operations where reason = '电话要求') = 2;
         end $$",
    );
    assert_eq!(on(&db, &["suppressions", "add", "12345"]).run().code, 2);
}
