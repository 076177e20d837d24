//! What operators do on the command line, and what is noted of it.

use crate::support::broker::Message;
use crate::support::stage::Stage;
use crate::support::{Run, TestDb, becomes, dispatcher, job, number};

fn on(url: &str, arguments: &[&str]) -> Run {
    dispatcher(arguments).postgres(url).env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
}

/// `wait` waits, `d1` and `d2` are in doubt, `gone` was accepted.
fn database() -> TestDb {
    let db = TestDb::create();
    on(db.url(), &["migrate"]).ok();
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, state, wait_reason, due_at, on_unknown, digest,
             claim_id)
         values ('wait', 1, 'main', '13800138001', 'high', 'x', 'waiting', 'scheduled', now() + interval '1 h', 'hold',
                 '\\x00', 1),
             ('d1', 2, 'main', '13800138002', 'high', 'x', 'in_doubt', null, null, 'hold', '\\x00', 2),
             ('d2', 3, 'main', '13800138003', 'high', 'x', 'in_doubt', null, null, 'hold', '\\x00', 3),
             ('gone', 4, 'main', '13800138004', 'high', 'x', 'accepted', null, null, 'hold', '\\x00', 4)",
    );
    db
}

#[test]
fn jobs_are_cancelled_and_what_cannot_be_is_said() {
    let db = database();
    let ended = on(db.url(), &["jobs", "cancel", "wait", "gone", "nobody", "--reason", "x"]).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "wait is cancelled\n"), "{ended:?}");
    assert!(ended.stderr.contains("gone is accepted") && ended.stderr.contains("nobody"), "{ended:?}");
    assert_eq!(on(db.url(), &["jobs", "show", "wait", "--json"]).json()["state"], "cancelled");
}

#[test]
fn doubts_are_resolved_one_or_many() {
    let db = database();
    let both = on(db.url(), &["jobs", "resolve", "--ids", "-", "--not-sent", "--json"]).stdin("d1\n\nd2\n").json();
    assert_eq!(both["changed"], 2);
    let show = on(db.url(), &["jobs", "show", "d1", "--json"]).json();
    assert_eq!((&show["state"], &show["wait_reason"]), (&"waiting".into(), &"retry".into()));
    db.execute("update jobs set state = 'in_doubt', wait_reason = null, due_at = null where id = 'd2'");
    let told = on(db.url(), &["jobs", "resolve", "d2", "--sent", "--smsid", "17"]).ok();
    assert_eq!(told, "d2 is accepted\n");
    assert_eq!(on(db.url(), &["jobs", "show", "d2", "--json"]).json()["smsid"], "17");
    db.execute("update jobs set state = 'in_doubt', wait_reason = null, due_at = null where id = 'd1'");
    let other = on(db.url(), &["jobs", "resolve", "d1", "--sent", "--smsid", "17"]).run();
    assert_eq!(
        (other.code, other.stderr.contains("d1 stays in doubt: 17 is the smsid of job d2")),
        (1, true),
        "{other:?}"
    );
    assert_eq!(db.count("jobs where id = 'd1' and state = 'in_doubt'"), 1);
    for wrong in [
        &["d1"][..],
        &["d1", "--sent", "--not-sent"],
        &["--sent"],
        &["d1", "d2", "--sent", "--smsid", "1"],
        &["d1", "--not-sent", "--smsid", "1"],
        &["d1", "--sent", "--smsid", "0"],
    ] {
        let arguments: Vec<&str> = ["jobs", "resolve"].iter().chain(wrong).copied().collect();
        assert_eq!(on(db.url(), &arguments).run().code, 2, "{wrong:?}");
    }
}

#[test]
fn many_are_chosen_by_flags_looked_at_first_and_noted_once() {
    let db = database();
    // More than go in one statement.
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, digest, claim_id)
         select 'many-' || n, n, 'main', '13800138009', 'high', 'x', 'in_doubt', 'hold', '\\x00', n
         from generate_series(10, 1209) as n",
    );
    let resolve = ["jobs", "resolve", "--account", "main", "--since", "1h", "--not-sent"];
    let seen = on(db.url(), &resolve).ok();
    assert_eq!(seen, "jobs      1202\nin_doubt  1202\nnothing was changed: add --yes\n");
    let done =
        on(db.url(), &resolve).argument("--yes").argument("--reason").argument("outage").argument("--json").json();
    assert_eq!((&done["matched"], &done["changed"], &done["dry_run"]), (&1202.into(), &1202.into(), &false.into()));
    let noted =
        "operations where action = 'resolve' and count = 1202 and reason = 'outage' and target ->> 'account' = 'main'";
    assert_eq!((db.count(noted), db.count("operations")), (1, 1));
    let named = "operations where target -> 'sent' = 'false' and jsonb_array_length(target -> 'jobs') = 1202";
    assert_eq!(db.count(named), 1);
    let told = on(db.url(), &["jobs", "show", "many-10"]).ok();
    assert!(told.contains("  resolve as not sent by ") && told.contains("“outage”"), "{told}");
    let cancel = ["jobs", "cancel", "--mobile", "13800138009"];
    assert!(on(db.url(), &cancel).ok().contains("waiting   1200"));
    let searched = "operations where action = 'search' and via = 'cli' and target = '{\"mobile\": \"138****8009\"}'";
    assert_eq!(db.count(&format!("{searched} and count = 1200")), 1, "a look by number is a search");
    on(db.url(), &["replay", "--mobile", "13800138009", "--dry-run"]).ok();
    assert_eq!(db.count(&format!("{searched} and count = 0")), 1);
    on(db.url(), &["replay", "--mobile", "13800138009"]).ok();
    assert_eq!(db.count(&format!("{searched} and count = 0")), 2, "nothing was begun, and something was told");
    assert!(on(db.url(), &cancel).argument("--yes").ok().ends_with("changed   1200\n"));
    assert_eq!(
        db.count("operations where action = 'cancel' and count = 1200 and target ->> 'mobile' = '138****8009'"),
        1
    );
    assert_eq!(db.count("jobs where state = 'cancelled'"), 1200, "another number is not touched");
    for wrong in [
        &["jobs", "cancel", "--state", "failed"][..],
        &["jobs", "cancel", "wait", "--account", "main"],
        &["jobs", "cancel"],
        &["jobs", "resolve", "--account", "main", "--sent", "--smsid", "1"],
    ] {
        assert_eq!(on(db.url(), wrong).run().code, 2, "{wrong:?}");
    }
}

#[test]
fn what_was_done_of_many_before_postgres_failed_is_noted_and_told() {
    let db = database();
    db.execute(
        "insert into jobs (id, seq, account, mobile, priority, content, state, on_unknown, digest, claim_id)
         select 'many-' || n, n, 'main', '13800138009', 'high', 'x', 'in_doubt', 'hold', '\\x00', n
         from generate_series(10, 1209) as n",
    );
    // It is in the second of three statements.
    db.execute(
        "create function fails() returns trigger language plpgsql as $$ begin raise exception 'not this one'; end $$;
         create trigger fails before update on jobs for each row when (new.id = 'many-700') execute function fails()",
    );
    let ended = on(db.url(), &["jobs", "resolve", "--account", "main", "--since", "1h", "--not-sent", "--yes"]).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("broke off after 500 jobs were changed"), "{ended:?}");
    let named = "operations where action = 'resolve' and count = 500 and jsonb_array_length(target -> 'jobs') = 500";
    assert_eq!((db.count(named), db.count("jobs where wait_reason = 'retry'")), (1, 500));
    assert!(on(db.url(), &["jobs", "show", "many-10"]).ok().contains("  resolve as not sent by "));
}

#[tokio::test]
async fn a_refused_message_is_sent_once_its_cause_is_mended() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let mut refused = job("late", &number(1));
    refused["account"] = "second".into();
    let message = Message::job("high", &refused).with_header("x-published-ms", "1700000000000");
    stage.broker.publish(&[message]).await;
    becomes("the rejection", 1, async || stage.db.count("rejections").await).await;
    stage.stop().await;
    stage.set("accounts.second.api_id", "C00000001");
    let key = stage.environment().into_iter().find(|(name, _)| name.ends_with("MAIN__API_KEY")).unwrap().1;
    stage.set("accounts.second.api_key", &key);
    stage.start().await;
    let mut run = dispatcher(&["rejections", "retry", "1", "--reason", "account added"]);
    for (name, value) in stage.environment() {
        run = run.env(&name, &value);
    }
    let told = tokio::task::spawn_blocking(|| run.ok()).await.unwrap();
    assert!(told.starts_with("published 1 message again"), "{told}");
    assert_eq!(stage.settled("late", "accepted").await.priority, "high");
    assert_eq!(stage.db.count("rejections where retried_at is not null").await, 1);
    let published = "jobs where published_at = to_timestamp(1700000000)";
    assert_eq!(stage.db.count(published).await, 1, "the properties are as they came");
    let noted = "operations where action = 'retry' and via = 'cli' and reason = 'account added' and actor <> ''";
    assert_eq!(stage.db.count(noted).await, 1);
    stage.finish().await;
}

#[tokio::test]
async fn refused_messages_are_chosen_by_filter_and_published_again_once() {
    let mut stage = Stage::new().await;
    stage.start().await;
    let refused = |n: usize| {
        let mut job = job(&format!("late-{n}"), &number(n));
        job["account"] = "second".into();
        job
    };
    let jobs: Vec<_> = (0..5).map(refused).collect();
    stage.publish("normal", &jobs).await;
    stage.broker.publish(&[Message::raw("normal.x", "no json")]).await;
    becomes("the rejections", 6, async || stage.db.count("rejections").await).await;
    stage.stop().await;
    stage.set("accounts.second.api_id", "C00000001");
    let key = stage.environment().into_iter().find(|(name, _)| name.ends_with("MAIN__API_KEY")).unwrap().1;
    stage.set("accounts.second.api_key", &key);
    stage.start().await;
    let environment = stage.environment();
    let retry = async |flags: &'static [&'static str]| {
        let mut run = dispatcher(&["rejections", "retry", "--refused-for", "unknown_account", "--since", "1h"]);
        run = flags.iter().fold(run, |run, flag| run.argument(flag));
        run = environment.iter().fold(run, |run, (name, value)| run.env(name, value));
        tokio::task::spawn_blocking(|| run.run()).await.unwrap()
    };
    let seen: serde_json::Value = serde_json::from_str(&retry(&["--dry-run", "--json"]).await.stdout).unwrap();
    assert_eq!(
        (&seen["matched"], &seen["published"], &seen["by_reason"]["unknown_account"]),
        (&5.into(), &0.into(), &5.into())
    );
    assert_eq!(stage.db.count("rejections where retried_at is not null").await, 0);
    // Two a second, so it takes more than one batch.
    let done = retry(&["--rate", "2/s", "--reason", "account added"]).await;
    assert_eq!((done.code, done.stdout.starts_with("published 5 messages again")), (0, true), "{done:?}");
    stage.states("accepted 5").await;
    let again = retry(&[]).await;
    assert!(again.code == 0 && again.stderr.contains("left out: 5"), "{again:?}");
    assert_eq!(stage.db.count("rejections where retried_at is not null").await, 5, "the other one is no match");
    let noted =
        "(select sum(count) as n from operations where action = 'retry' and reason = 'account added') s where n = 5";
    assert_eq!(stage.db.count(noted).await, 1);
    assert_eq!(stage.gateway.submissions().len(), 5);
    // The other one is no job this time either.
    let run = dispatcher(&["rejections", "retry", "--refused-for", "bad_json"]);
    let run = environment.iter().fold(run, |run, (name, value)| run.env(name, value));
    let refused = tokio::task::spawn_blocking(|| run.run()).await.unwrap();
    assert_eq!((refused.code, refused.stderr.contains("error: 1 refused again: ")), (1, true), "{refused:?}");
    stage.finish().await;
}

#[test]
fn a_replay_is_looked_at_begun_and_steered() {
    let db = database();
    db.execute(
        "update jobs set state = 'failed', wait_reason = null, due_at = null, code = 4070, content = repeat('x', 71)
         where id in ('wait', 'd1')",
    );
    let seen = on(db.url(), &["replay", "--code", "4070", "--dry-run", "--json"]).json();
    assert_eq!((&seen["matched"], &seen["parts"], &seen["id"]), (&2.into(), &4.into(), &serde_json::Value::Null));
    // With the signature, 65 characters are two parts.
    db.execute("update jobs set content = repeat('x', 65) where id = 'd1'");
    let seen = on(db.url(), &["replay", "--code", "4070", "--dry-run", "--json"]).json();
    assert_eq!(seen["parts"], 4);
    let short = [("DISPATCHER__ACCOUNTS__MAIN__SIGNATURE_LENGTH", "5")];
    let run = on(db.url(), &["replay", "--code", "4070", "--dry-run", "--json"]);
    assert_eq!(short.iter().fold(run, |run, (name, value)| run.env(name, value)).json()["parts"], 3);
    let template =
        "update jobs set content = null, template_id = 'long', variables = '[\"123\", \"好\"]' where id = 'd1'";
    db.execute(template);
    let run = on(db.url(), &["replay", "--code", "4070", "--dry-run", "--json"])
        .env("DISPATCHER__TEMPLATES__LONG__ID", "77")
        .env("DISPATCHER__TEMPLATES__LONG__TEXT", &format!("【变量】{}【变量】", "好".repeat(61)));
    assert_eq!(run.json()["parts"], 4, "61, 3 and 1, and the signature");
    let told = on(db.url(), &["replay", "--code", "4070", "--dry-run"]).ok();
    assert!(told.contains("4070 签名格式不正确") && told.contains("nothing was changed"), "{told}");
    let flags = ["replay", "--ids-file", "-", "--rate", "1/s", "--reason", "签名已报备"];
    let told = on(db.url(), &flags).stdin("wait\nd1\nd2\ngone\n").ok();
    assert!(told.contains("replay 1 has begun: 2 jobs at up to 1/s"), "the doubt is not named: {told}");
    assert_eq!(on(db.url(), &["replay", "pause", "1"]).ok(), "replay 1 is paused\n");
    let shown = on(db.url(), &["replay", "show", "1", "--json"]).json();
    assert_eq!((&shown["state"], &shown["results"]["pending"]), (&"paused".into(), &2.into()));
    assert!(on(db.url(), &["replay", "list"]).ok().contains("签名已报备"));
    assert!(on(db.url(), &["replay", "show", "1"]).ok().starts_with("replay 1: paused\n"));
    let jobs = on(db.url(), &["replays", "show", "1", "--jobs", "--json"]).json();
    assert_eq!(
        (&jobs[0]["job"], &jobs[1]["job"], &jobs[1]["result"]),
        (&"wait".into(), &"d1".into(), &"pending".into())
    );
    let page = on(db.url(), &["replay", "show", "1", "--jobs", "--limit", "1"]).run();
    assert!(page.stdout.contains("wait") && !page.stdout.contains("d1"), "{page:?}");
    assert!(page.stderr.contains("add --cursor 1"), "{page:?}");
    assert!(on(db.url(), &["replay", "show", "1", "--jobs", "--cursor", "1"]).ok().contains("d1"));
    assert_eq!(on(db.url(), &["replay", "show", "1", "--jobs", "--result", "sent"]).ok(), "nothing found\n");
    assert_eq!(on(db.url(), &["replay", "cancel", "1"]).ok(), "replay 1 is cancelled\n");
    assert_eq!(on(db.url(), &["replay", "resume", "1"]).run().code, 1);
    assert_eq!(on(db.url(), &["replay", "--code", "1"]).ok().lines().last(), Some("no replay was begun"));
}
