//! What `jobs show` tells of jobs that wait in lines.

use serde_json::Value;

use super::queries::on;
use crate::support::TestDb;

/// Four jobs in the line of account `main`, two of a number's, one of another account's.
fn lines() -> TestDb {
    let db = TestDb::create();
    on(&db, &["migrate"]).ok();
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_room,
             on_unknown, digest, claim_id)
         values
         ('high', 9, 'main', '13800138001', 'high', 'x', 'waiting', 'rate_limited', now() + interval '1 min', true,
             'hold', '\\x00', 1),
         ('first', 1, 'main', '13800138002', 'bulk', 'x', 'waiting', 'rate_limited', now() + interval '1 min', true,
             'hold', '\\x00', 2),
         ('second', 2, 'main', '13800138003', 'bulk', 'x', 'waiting', 'account_paused', null, true,
             'hold', '\\x00', 3),
         ('elsewhere', 0, 'other', '13800138004', 'bulk', 'x', 'waiting', 'account_paused', null, true,
             'hold', '\\x00', 4),
         ('slot-1', 5, 'main', '13800138005', 'normal', 'x', 'waiting', 'rate_limited', now() + interval '9 s', false,
             'hold', '\\x00', 5),
         ('slot-2', 6, 'main', '13800138005', 'normal', 'x', 'waiting', 'rate_limited', now() + interval '10 s', false,
             'hold', '\\x00', 6),
         ('later', 7, 'main', '13800138005', 'normal', 'x', 'waiting', 'retry', now() + interval '1 s', false,
             'hold', '\\x00', 7)",
    );
    db
}

fn shown(db: &TestDb, id: &str) -> Value {
    on(db, &["jobs", "show", id, "--json"]).json()
}

#[test]
fn behind_how_many_a_job_waits_for_its_account_and_for_its_number() {
    let db = lines();
    for (id, ahead) in [("high", 0), ("first", 1), ("second", 2), ("slot-1", 0), ("slot-2", 1)] {
        assert_eq!(shown(&db, id)["next"]["ahead"], ahead, "{id}");
    }
    assert_eq!(shown(&db, "later")["next"]["ahead"], Value::Null);
    let elsewhere = &shown(&db, "elsewhere")["next"];
    assert_eq!(elsewhere["ahead"], Value::Null);
    assert!(
        elsewhere["text"].as_str().unwrap().starts_with("account other is not in this configuration"),
        "{elsewhere}"
    );
    let told = on(&db, &["jobs", "show", "first"]).ok();
    assert!(told.contains("Next: it waits for room in account main, behind 1 job: about 1 s at 100/s;"), "{told}");
    assert!(told.contains("You can:\n  dispatcher top\n  dispatcher jobs cancel first"), "{told}");
    let told = on(&db, &["jobs", "show", "slot-2"]).ok();
    assert!(told.contains("Next: it waits for its number, behind 1 job; it is submitted at "), "{told}");
}

#[test]
fn a_pause_is_explained_with_the_cure_in_both_languages() {
    let db = lines();
    db.execute(
        "insert into accounts (name, state, reason, paused_at, paused_by)
         values ('main', 'paused', 'code 4051: no balance left', now(), 'gateway')",
    );
    let told = on(&db, &["jobs", "show", "second"]).ok();
    assert!(told.contains("Next: account main is paused since "), "{told}");
    assert!(told.contains("\nCure: top up: the account resumes by itself (充值，之后账号自动恢复)\n"), "{told}");
    assert!(told.contains("\n  dispatcher accounts resume main\n"), "{told}");
    let next = &shown(&db, "second")["next"];
    assert_eq!(next["cure"]["zh"], "充值，之后账号自动恢复");
}

#[test]
fn what_ihuyi_people_and_operators_did_afterwards_is_in_the_story_and_masked() {
    let db = lines();
    db.execute(
        "update jobs set state = 'delivered', wait_reason = null, due_at = null, on_room = false where id = 'first';
         -- Messages that were refused: one became the job, another has its id.
         insert into replays (id, actor, via, filter, rate, matched, subject) overriding system value
         values (8, 'dave', 'cli', '{}', 1, 2, 'rejections');
         insert into replay_jobs (replay_id, position, job_id, from_state, requests, result, at, rejection_id, digest)
         values (8, 1, 'first', 'unknown_account', 0, 'taken', now() - interval '1 s', 1, '\\x00'),
                (8, 2, 'first', 'bad_field', 0, 'refused', now() + interval '1 s', 2, '\\x01');
         insert into receipts (smsid, mobile, code, message, job_id, received_at, digest)
         values ('1', '13800138002', 2, 'DELIVRD', 'first', now() + interval '1 s', '\\x01');
         insert into replies (mobile, content, job_id, received_at, digest)
         values ('13800138002', '退订', 'first', now() + interval '2 s', '\\x01');
         insert into replays (id, state, actor, via, reason, filter, rate, matched, created_at, finished_at)
         overriding system value
         values (7, 'done', 'carol', 'cli', '签名已报备', '{}', 1, 2, now() + interval '1 s', now());
         insert into replay_jobs (replay_id, position, job_id, from_state, requests, result, at)
         values (7, 1, 'another', 'failed', 1, 'failed', now()),
                (7, 2, 'first', 'failed', 1, 'delivered', now() + interval '2500 ms');
         insert into operations (at, actor, via, action, target, reason)
         values (now() + interval '3 s', 'alice', 'api', 'resolve', '{\"jobs\": [\"another\", \"first\"]}', 'seen'),
                (now() + interval '4 s', 'bob', 'api', 'cancel', '{\"jobs\": [\"another\"]}', null)",
    );
    let told = on(&db, &["jobs", "show", "first"]).ok();
    let lines = [
        "  receipt of ihuyi: delivered, code 2; “DELIVRD”",
        "“[2 characters]”",
        "  replay 7 by carol (cli): “签名已报备”; sent again: delivered",
        "  resolve by alice (api): “seen”",
    ];
    let found: Vec<_> =
        lines.iter().map(|line| told.find(line).unwrap_or_else(|| panic!("no {line} in\n{told}"))).collect();
    let retried =
        "  replay 8 by dave (cli); its message, refused before as unknown_account, was published again: taken";
    assert!(told.contains(retried) && told.matches("replay 8").count() == 1, "another message's: {told}");
    assert!(found.is_sorted() && !told.contains("bob") && !told.contains("13800138002"), "{told}");
    assert!(on(&db, &["jobs", "show", "first", "--full"]).ok().contains("the person answered: “退订”"));
    let json = shown(&db, "first");
    assert_eq!(
        (&json["receipts"][0]["mobile"], &json["replies"][0]["content"]),
        (&"138****8002".into(), &"[2 characters]".into())
    );
    let replays = json["replays"].as_array().unwrap();
    assert_eq!((replays.len(), &replays[0]["replay"], &replays[0]["result"]), (2, &7.into(), &"delivered".into()));
    let kinds: Vec<_> =
        json["story"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["replay", "received", "state", "receipt", "reply", "replay", "operation"]);
}
