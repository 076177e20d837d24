//! `send`: what is refused before anything is published.

use serde_json::Value;

use crate::support::{Run, dispatcher};

fn send(arguments: &[&str]) -> Run {
    let arguments: Vec<&str> = std::iter::once("send").chain(arguments.iter().copied()).collect();
    dispatcher(&arguments).env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
}

#[test]
fn a_job_without_an_id_is_told_what_an_id_is_for() {
    let ended = send(&["--mobile", "13800138000", "--content", "您好"]).run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("`id` is missing: it is the idempotency key"), "{ended:?}");
}

#[test]
fn a_bad_flag_is_wrong_usage_and_shows_neither_number_nor_text() {
    let ended = send(&["--id", "a", "--mobile", "1380013800", "--content", "秘密"]).run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("`mobile` must have 11 digits"), "{ended:?}");
    assert!(!ended.stderr.contains("1380013800") && !ended.stderr.contains("秘密"), "{ended:?}");
    let ended = send(&["--id", "a", "--mobile", "13800138000", "--content", "x", "--metadata", "{a}"]).run();
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[test]
fn every_bad_line_is_reported_by_number() {
    let lines = "\n{\"id\":\"a\"}\nno json\n\n{\"id\":\"b\",\"mobile\":\"1\",\"content\":\"x\"}\n";
    let ended = send(&["-"]).stdin(lines).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    let told: Vec<&str> = ended.stderr.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(told, ["line 2", "line 3", "line 5"], "{ended:?}");
    assert_eq!(ended.stdout, "published 0 jobs, refused 3 lines\n");
}

#[test]
fn with_all_or_nothing_a_bad_line_keeps_the_good_ones_back() {
    // Nothing listens where RabbitMQ should be: publishing would fail in another way.
    let lines = "{\"id\":\"a\",\"mobile\":\"13800138000\",\"content\":\"x\"}\n{\"id\":\"b\"}\n";
    let ended = send(&["-", "--all-or-nothing", "--json"]).stdin(lines).run();
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["published"], 0);
    assert_eq!(report["refused"][0]["line"], 2);
    assert_eq!(report["refused"][0]["reason"], "bad_field");
}

#[test]
fn nothing_to_send_is_no_failure() {
    assert_eq!(send(&["-"]).stdin("\n\n").ok(), "published 0 jobs\n");
    assert_eq!(send(&["-", "--json"]).json()["published"], 0);
}

#[test]
fn a_broker_that_is_down_is_a_failure_with_well_formed_json() {
    let line = "{\"id\":\"a\",\"mobile\":\"13800138000\",\"content\":\"x\"}\n";
    let ended = send(&["-", "--json"]).stdin(line).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["published"], 0);
    assert!(ended.stderr.contains("0 jobs were published"), "{ended:?}");
}
