//! Stories of made-up jobs.

use chrono::Duration;

use super::*;
use crate::domain::job::{State, WaitReason};
use crate::store::query::{AccountInfo, Ahead, AttemptInfo, Deed, JobInfo, JobReplay, ReceiptInfo, ReplyInfo};

fn at(millis: i64) -> Timestamp {
    "2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap() + Duration::milliseconds(millis)
}

pub(crate) fn job(state: &str) -> JobInfo {
    JobInfo {
        id: "order-1".into(),
        account: "main".into(),
        mobile: "138****8000".into(),
        priority: "high".into(),
        content: Some("[9 characters]".into()),
        template_id: None,
        variables: None,
        state: state.into(),
        wait_reason: None,
        due_at: None,
        not_before: None,
        expires_at: None,
        on_unknown: "hold".into(),
        attempts: 1,
        attempts_base: 0,
        code: None,
        message: None,
        smsid: None,
        metadata: None,
        claimed_until: None,
        published_at: Some(at(0)),
        created_at: at(4),
        updated_at: at(99_000),
    }
}

fn waiting(reason: &str, due: Option<i64>) -> JobInfo {
    JobInfo { wait_reason: Some(reason.into()), due_at: due.map(at), ..job("waiting") }
}

fn dossier(job: JobInfo, attempts: Vec<AttemptInfo>) -> Dossier {
    Dossier {
        job,
        attempts,
        receipts: vec![],
        replies: vec![],
        replays: vec![],
        deeds: vec![],
        account: None,
        ahead: None,
    }
}

fn attempt(number: i32, outcome: Option<&str>, code: Option<i64>, message: &str, started: i64) -> AttemptInfo {
    AttemptInfo {
        attempt: number,
        account: "main".into(),
        outcome: outcome.map(str::to_owned),
        code,
        message: Some(message.into()),
        smsid: None,
        started_at: at(started),
        finished_at: outcome.map(|_| at(started + 120)),
    }
}

fn manner() -> Manner {
    Manner { max_attempts: 6, rate: Some(10.0), show: |at| at.format("%H:%M:%S").to_string() }
}

fn told(dossier: &Dossier) -> Story {
    story(dossier, &manner())
}

fn texts(story: &Story) -> Vec<&str> {
    story.events.iter().map(|event| event.text.as_str()).collect()
}

#[test]
fn a_retry_is_told_in_order_with_waits_meaning_and_cure() {
    let attempts = vec![
        attempt(1, Some("not_sent"), None, "refused", 10),
        attempt(2, Some("account"), Some(4051), "余额不足", 5_000),
        attempt(3, Some("retry"), Some(4080), "太快", 65_000),
    ];
    let story = told(&dossier(waiting("retry", Some(120_000)), attempts));
    assert_eq!(
        texts(&story),
        [
            "published",
            "received",
            "request 1 by account main: not_sent after 120 ms (it did not leave; no attempt spent); “refused”",
            "waited 4 s: until it could be sent, as the request before had not left: refused",
            "request 2 by account main: account after 120 ms (the account cannot send; no attempt spent); code 4051 \
             剩余条数不足 (no balance left); “余额不足”",
            "waited 59 s: for its account, which was paused",
            "request 3 by account main: retry after 120 ms; code 4080 同一手机号码同一秒钟之内发送频率不能超过 1 条 \
             (the same number more than once in the same second); “太快”",
            "waiting (retry)",
        ]
    );
    assert_eq!(story.next.text, "it is submitted again at 08:02:00; 1 of 6 attempts are spent");
    assert_eq!(story.next.until, Some(at(120_000)));
    let event = &story.events[4];
    assert_eq!((event.code, event.event), (Some(4051), What::Request));
    assert_eq!(event.cure.as_ref().unwrap().zh, "充值，之后账号自动恢复");
    assert_eq!(event.meaning.unwrap().en, "no balance left");
}

#[test]
fn the_gateways_words_are_not_repeated() {
    let story = told(&dossier(job("accepted"), vec![attempt(1, Some("accepted"), Some(2), "提交成功", 10)]));
    assert!(texts(&story).contains(&"request 1 by account main: accepted after 120 ms; code 2 提交成功 (accepted)"));
    assert!(story.events.iter().all(|event| event.cure.is_none()));
    let story = told(&dossier(job("submitting"), vec![attempt(1, None, None, "", 10)]));
    assert!(texts(&story)[2].contains("on the wire"));
}

#[test]
fn every_state_and_reason_has_a_next_step() {
    for state in State::ALL {
        let next = told(&dossier(job(state.as_str()), vec![])).next;
        assert!(!next.text.is_empty() && !next.text.contains("does not know"), "{next:?}");
        // Who waits for something, or was not sent, has a way on.
        let ends_well = matches!(state, State::Accepted | State::Delivered | State::Undelivered | State::Submitting);
        assert_eq!(next.commands.is_empty(), ends_well, "{next:?}");
    }
    for reason in WaitReason::ALL {
        let next = told(&dossier(waiting(reason.as_str(), Some(5_000)), vec![])).next;
        assert!(!next.text.contains("in due course"), "{reason}");
        assert!(next.commands.contains(&"dispatcher jobs cancel order-1".into()), "{next:?}");
    }
}

#[test]
fn one_that_waits_in_a_line_says_behind_how_many_and_how_long() {
    let parked = waiting("rate_limited", Some(60_000));
    let next = told(&Dossier { ahead: Some(Ahead::Account(605)), ..dossier(parked.clone(), vec![]) }).next;
    assert_eq!(
        next.text,
        "it waits for room in account main, behind 605 jobs: about 1 min 1 s at 10/s; its turn comes about at 08:01:00"
    );
    assert_eq!(next.ahead, Some(605));
    let expires = JobInfo { expires_at: Some(at(3_600_000)), ..parked };
    let next = told(&Dossier { ahead: Some(Ahead::Number(1)), ..dossier(expires, vec![]) }).next;
    assert_eq!(
        next.text,
        "it waits for its number, behind 1 job; it is submitted at 08:01:00, unless it expires at 09:00:00"
    );
}

#[test]
fn a_paused_account_is_explained_with_its_cure() {
    let account = |by: &str, reason: &str| AccountInfo {
        name: "main".into(),
        state: "paused".into(),
        reason: Some(reason.into()),
        paused_at: Some(at(1_000)),
        paused_by: Some(by.into()),
    };
    let parked = dossier(waiting("account_paused", None), vec![]);
    let gateway = Some(account("gateway", "code 401: account is empty"));
    let next = told(&Dossier { account: gateway, ahead: Some(Ahead::Account(0)), ..parked.clone() }).next;
    assert_eq!(
        next.text,
        "account main is paused since 08:00:01 (code 401: account is empty); it resumes by itself once the cause is \
         gone; it waits for room in account main, behind nobody"
    );
    assert_eq!(next.cure.unwrap().en, "set accounts.main.api_id");
    let operator = Some(account("operator", "by hand"));
    let next = told(&Dossier { account: operator, ..parked.clone() }).next;
    assert!(next.text.contains("by an operator since 08:00:01 (“by hand”)"), "{next:?}");
    assert_eq!(next.commands[0], "dispatcher accounts resume main");
    assert!(told(&parked).next.text.contains("active again"));
    // Those that waited already when it was paused wait for that now.
    for reason in ["rate_limited", "retry", "replay"] {
        let before = dossier(waiting(reason, Some(60_000)), vec![]);
        let gateway = Some(account("gateway", "code 401: account is empty"));
        let next = told(&Dossier { account: gateway, ahead: Some(Ahead::Account(7)), ..before }).next;
        assert!(next.text.contains("account main is paused") && next.text.contains("behind 7 jobs"), "{next:?}");
        assert_eq!(next.until, None, "nobody knows");
    }
}

#[test]
fn a_failure_says_why_and_what_to_do() {
    let failed = JobInfo { code: Some(4072), ..job("failed") };
    let next = told(&dossier(failed, vec![])).next;
    assert!(next.text.ends_with("code 4072 短信内容与模板不匹配 (content does not match an approved template)"));
    assert_eq!(next.cure.unwrap().en, "match it to the character");
    assert_eq!(next.commands, ["dispatcher replay --id order-1 --dry-run", "dispatcher replay --id order-1"]);
}

#[test]
fn what_came_afterwards_is_told() {
    let receipt = ReceiptInfo {
        id: 1,
        job_id: None,
        smsid: "1".into(),
        mobile: None,
        code: Some(7),
        message: Some("UNDELIV".into()),
        reported_at: None,
        received_at: at(2_000),
    };
    let reply = ReplyInfo {
        id: 1,
        job_id: None,
        mobile: "138****8000".into(),
        content: "[2 characters]".into(),
        smsid: None,
        replied_at: None,
        received_at: at(3_000),
    };
    let deed = Deed {
        at: at(4_000),
        actor: "alice".into(),
        via: "api".into(),
        action: "resolve".into(),
        sent: Some(true),
        reason: Some("seen in the console".into()),
    };
    let all = Dossier {
        receipts: vec![receipt],
        replies: vec![reply],
        deeds: vec![deed],
        ..dossier(job("accepted"), vec![])
    };
    let story = told(&all);
    assert_eq!(
        texts(&story)[2..5],
        [
            "receipt of ihuyi: not delivered, code 7; “UNDELIV”",
            "the person answered: “[2 characters]”",
            "resolve as sent by alice (api): “seen in the console”",
        ]
    );
    let json = serde_json::to_value(&story).unwrap();
    assert_eq!((&json["story"][2]["event"], &json["story"][2]["code"]), (&"receipt".into(), &7.into()));
}

#[test]
fn what_a_replay_holds_goes_on_by_that() {
    let pending = |state: &str, from: &str| JobReplay {
        replay: 7,
        state: state.into(),
        actor: "alice".into(),
        via: "cli".into(),
        reason: None,
        created_at: at(1_000),
        from: from.into(),
        result: "pending".into(),
        at: None,
    };
    let next = |replay: JobReplay| told(&Dossier { replays: vec![replay], ..dossier(job("failed"), vec![]) }).next;
    let held = next(pending("paused", "failed"));
    assert_eq!(held.text, "replay 7 chose it and is paused: it is sent again once that is resumed");
    assert_eq!(held.commands, ["dispatcher replay show 7", "dispatcher replay resume 7"]);
    assert_eq!(next(pending("running", "failed")).text, "replay 7 chose it and sends it again in its turn");
    for over in [pending("done", "failed"), pending("cancelled", "failed"), pending("running", "expired")] {
        assert!(next(over).text.starts_with("nothing: it is not sent again"));
    }
}

#[test]
fn what_nobody_waits_for_is_not_promised() {
    let late = JobInfo {
        due_at: Some(at(9_000)),
        expires_at: Some(at(5_000)),
        wait_reason: Some("quiet_hours".into()),
        ..job("waiting")
    };
    let text = told(&dossier(late, vec![])).next.text;
    assert!(text.contains("but it expires before that, at "), "{text}");
    let text = told(&dossier(JobInfo { smsid: None, ..job("accepted") }, vec![])).next.text;
    assert!(text.contains("no receipt finds it"), "{text}");
}

#[test]
fn what_expired_did_not_wait_for_its_turn() {
    let replay = JobReplay {
        replay: 7,
        state: "done".into(),
        actor: "alice".into(),
        via: "cli".into(),
        reason: None,
        created_at: at(8_000),
        from: "expired".into(),
        result: "accepted".into(),
        at: Some(at(9_000)),
    };
    let attempts = vec![attempt(1, Some("accepted"), Some(2), "", 9_500)];
    let story = told(&Dossier { replays: vec![replay], ..dossier(job("accepted"), attempts) });
    assert!(texts(&story).iter().any(|text| text.ends_with("it was not sent, until somebody had it sent again")));
}

#[test]
fn a_message_that_was_refused_and_published_again_is_no_wait_of_its_job() {
    let retry = |at: Timestamp| JobReplay {
        replay: 7,
        state: "done".into(),
        actor: "alice".into(),
        via: "cli".into(),
        reason: None,
        created_at: at,
        from: "unknown_account".into(),
        result: "taken".into(),
        at: Some(at),
    };
    // Before it became a job, and as a repeat of it.
    for published in [at(3), at(1_000)] {
        let attempts = vec![attempt(1, Some("accepted"), Some(2), "", 9_500)];
        let story = told(&Dossier { replays: vec![retry(published)], ..dossier(job("accepted"), attempts) });
        let texts = texts(&story);
        assert!(texts.iter().any(|text| text.starts_with("waited 9 s: for its turn: ")), "{texts:?}");
        let told =
            "replay 7 by alice (cli); its message, refused before as unknown_account, was published again: taken";
        assert!(texts.contains(&told), "{texts:?}");
    }
}

#[test]
fn an_older_replay_explains_no_wait() {
    let replay = JobReplay {
        replay: 7,
        state: "done".into(),
        actor: "alice".into(),
        via: "cli".into(),
        reason: None,
        created_at: at(1),
        from: "failed".into(),
        result: "accepted".into(),
        at: Some(at(2)),
    };
    let attempts = vec![attempt(1, Some("accepted"), Some(2), "", 9_500)];
    let story = told(&Dossier { replays: vec![replay], ..dossier(job("accepted"), attempts) });
    assert!(texts(&story).iter().any(|text| text.starts_with("waited 9 s: for its turn: ")), "{story:?}");
}

#[test]
fn waits_are_told_as_far_as_they_are_known() {
    let attempts = vec![
        attempt(1, Some("not_sent"), None, "the quiet hours began", 3_600_000),
        attempt(2, Some("not_sent"), None, "", 39_600_000),
        attempt(3, Some("accepted"), Some(2), "", 39_700_000),
    ];
    let scheduled = JobInfo { not_before: Some(at(60_000)), ..job("accepted") };
    let story = told(&dossier(scheduled, attempts));
    let waits: Vec<_> = story.events.iter().filter(|event| event.event == What::Waited).collect();
    let waits: Vec<_> = waits.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(
        waits,
        [
            "waited 59 min 59 s: for its not_before, then its turn: the limiters, a limit of its number, quiet hours, or \
             its account while that was paused",
            "waited 9 h 59 min: until it could be sent, as the request before had not left: the quiet hours began",
            "waited 1 min 39 s: until it could be sent, as the request before had not left",
        ]
    );
}

#[test]
fn one_whose_account_was_removed_waits_in_vain() {
    let removed = Manner { rate: None, ..manner() };
    for reason in WaitReason::ALL {
        let parked =
            Dossier { ahead: Some(Ahead::Account(3)), ..dossier(waiting(reason.as_str(), Some(5_000)), vec![]) };
        let next = story(&parked, &removed).next;
        let told = "account main is not in this configuration: put it back and reload, or cancel the job";
        assert_eq!((next.text.as_str(), next.until, next.ahead), (told, None, None), "{reason}");
        assert_eq!(next.commands, ["dispatcher jobs cancel order-1"]);
    }
    let expires = JobInfo { expires_at: Some(at(3_000)), ..waiting("scheduled", Some(5_000)) };
    let next = story(&dossier(expires, vec![]), &removed).next;
    assert!(next.text.ends_with(", or cancel the job; it expires at 08:00:03"), "{next:?}");
}

#[test]
fn each_replay_is_told_with_who_why_and_what_came_of_it() {
    let replay = |number: i64, state: &str, result: &str, went: Option<i64>| JobReplay {
        replay: number,
        state: state.into(),
        actor: "alice".into(),
        via: "cli".into(),
        reason: (number == 1).then(|| "签名已报备".into()),
        created_at: at(1_000 * number),
        from: "failed".into(),
        result: result.into(),
        at: went.map(at),
    };
    let all = Dossier {
        replays: vec![
            replay(1, "done", "failed", Some(6_000)),
            replay(2, "running", "skipped", Some(8_000)),
            replay(3, "running", "sent", Some(7_000)),
            replay(4, "running", "pending", None),
            replay(5, "paused", "pending", None),
            replay(9, "cancelled", "pending", None),
        ],
        ..dossier(job("queued"), vec![])
    };
    let story = told(&all);
    assert_eq!(
        texts(&story)[2..8],
        [
            "replay 4 by alice (cli); chosen while failed, its turn has not come",
            "replay 5 by alice (cli); chosen while failed, not sent again yet: the replay is paused",
            "replay 1 by alice (cli): “签名已报备”; sent again: failed",
            "replay 3 by alice (cli); sent again, no outcome yet",
            "replay 2 by alice (cli); not sent again: it was no longer failed as when it was chosen",
            "replay 9 by alice (cli); chosen while failed, not sent again: the replay was cancelled",
        ]
    );
    assert_eq!(serde_json::to_value(&story).unwrap()["story"][2]["event"], "replay");
}

#[test]
fn who_waits_for_a_numbers_window_is_told_who_goes_before() {
    let limited = |ahead| Dossier { ahead, ..dossier(waiting("number_limit", Some(60)), vec![]) };
    let next = |dossier: &Dossier| told(dossier).next;
    let second = next(&limited(Some(Ahead::Number(2))));
    assert!(second.text.contains("looked at again") && second.text.contains("behind 2 jobs"), "{}", second.text);
    assert_eq!(second.ahead, Some(2));
    assert!(next(&limited(Some(Ahead::Number(0)))).text.contains("it is submitted at"));
}

#[test]
fn a_job_whose_request_did_not_leave_waits_for_the_gateway() {
    let held = dossier(job("queued"), vec![attempt(1, Some("not_sent"), None, "could not connect", 10)]);
    let next = told(&held).next;
    assert!(next.text.contains("could not connect") && next.text.contains("gateway"), "{}", next.text);
    assert!(next.commands.contains(&"dispatcher check".into()));
}

#[test]
fn a_forgotten_job_offers_no_replay() {
    for (state, mobile) in [("failed", ""), ("cancelled", "[erased]"), ("expired", "")] {
        let job = JobInfo { mobile: mobile.into(), ..job(state) };
        let next = told(&dossier(job, vec![])).next;
        assert!(next.text.contains("forgotten") && next.commands.is_empty(), "{next:?}");
    }
}
