//! Help, usage and configuration.

use std::process::{Command, Stdio};

use crate::support::dispatcher;

#[test]
fn help_is_useful_for_every_command() {
    let help = dispatcher(&["--help"]).ok();
    for command in [
        "run",
        "migrate",
        "check",
        "health",
        "send",
        "jobs",
        "replay",
        "accounts",
        "rejections",
        "receipts",
        "suppressions",
        "forget",
        "top",
        "simulate",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let help = dispatcher(&[command, "--help"]).ok();
        assert!(help.contains("Examples:") && help.contains(&format!("dispatcher {command}")), "{help}");
    }
    assert!(dispatcher(&["--version"]).ok().starts_with("dispatcher "));
}

#[test]
fn wrong_usage_exits_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["jobs"],
        &["jobs", "show"],
        &["jobs", "list", "--state", "sent"],
        &["jobs", "list", "--mobile", "12345"],
        &["jobs", "list", "--since", "yesterday"],
        &["jobs", "list", "--limit", "0"],
        &["jobs", "list", "--cursor", "x"],
        &["rejections", "show", "seven"],
        &["replay"],
        &["replay", "--dry-run"],
        &["replay", "--state", "accepted"],
        &["replay", "--state", "expired", "--dry-run"],
        &["replay", "--state", "expired", "--expires-in", "0s", "--dry-run"],
        &["replay", "--state", "failed", "--rate", "fast"],
        &["replay", "--state", "failed", "show", "7"],
        &["send"],
        &["send", "-", "--id", "a"],
        &["send", "jobs.jsonl"],
        &["send", "--all-or-nothing", "--id", "a"],
        &["completions", "tcsh"],
        &["top", "--url", "https://x"],
        &["top", "--interval", "1ms"],
        &["simulate", "--listen", "127.0.0.1:0", "--hang", "1.5"],
        &["simulate", "--listen", "127.0.0.1:0", "--latency", "2s", "--latency-p99", "1s"],
        &["simulate", "--listen", "127.0.0.1:0", "--receipt-url", "https://127.0.0.1/x"],
        &["simulate", "--listen", "127.0.0.1:0", "--api-key-file", "/nonexistent/key"],
        &["rejections", "retry"],
        &["rejections", "retry", "1", "--rate", "fast"],
        &["rejections", "retry", "1", "--canary", "100001"],
        &["replay", "--code", "4070", "--canary", "100001"],
    ] {
        let ended = dispatcher(arguments).run();
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn a_wrong_configuration_exits_2_with_every_problem_once() {
    let run = dispatcher(&["jobs", "list"]);
    let ended = run.env("DISPATCHER__LOG__LEVL", "info").env("DISPATCHER__LIMITS__MOBILE", "fast").run();
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
    assert!(ended.stderr.contains("DISPATCHER__LOG__LEVL: log.levl: is no key of [log]: did you mean `level`?"));
    assert!(ended.stderr.lines().all(|line| line.starts_with("error: DISPATCHER__")), "{ended:?}");
}

#[test]
fn where_there_is_no_file_that_is_said_first() {
    let ended = dispatcher(&["check"]).run();
    let first = ended.stderr.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("error: there is no dispatcher.toml in /") && first.contains("--config FILE"),
        "{ended:?}"
    );
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[test]
fn top_needs_no_configuration_where_it_is_told_whom_to_ask() {
    let top = dispatcher(&["top", "--once", "--url", "http://127.0.0.1:1"]).env("DISPATCHER__LOG__LEVEL", "loud");
    let ended = top.run();
    assert!(ended.stderr.contains("is the daemon running?"), "{ended:?}");
    assert!(ended.stdout.contains("why an account is paused is not shown"), "{ended:?}");
}

#[test]
fn check_reports_a_wrong_configuration_as_json_too() {
    let ended = dispatcher(&["check", "--json"]).env("DISPATCHER__LOG__LEVEL", "loud").run();
    assert_eq!((ended.code, ended.stderr.as_str()), (2, ""), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert!(
        report["checks"].as_array().unwrap().iter().any(|check| check["detail"].as_str().unwrap().contains("loud"))
    );
}

#[test]
fn a_config_file_that_is_not_there_exits_2() {
    let ended = dispatcher(&["--config", "/nonexistent/dispatcher.toml", "migrate"]).run();
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("/nonexistent/dispatcher.toml: cannot be read"), "{ended:?}");
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = dispatcher(&["completions", shell]).ok();
        assert!(script.contains("rejections") && script.contains("all-or-nothing"), "{shell}");
    }
}

#[test]
fn a_service_that_is_down_is_said_at_once_and_exits_1() {
    let ended = dispatcher(&["migrate"]).run();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("start Postgres, or correct host and port of postgres.url"), "{ended:?}");
}

#[test]
fn a_simulator_whose_reader_has_gone_ends_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    simulator.args(["simulate", "--listen", "127.0.0.1:0"]).env_clear().stdin(Stdio::null()).stdout(writer);
    let ended = simulator.output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]), "{ended:?}");
}
