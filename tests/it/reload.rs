//! SIGHUP and `dispatcher reload`: another configuration is taken up while jobs are under way.

use std::path::PathBuf;
use std::time::Duration;

use dispatcher::simulator::{Account, Latency, Options, Scripted};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::metrics::Scrape;
use crate::support::process::{Process, free_address};
use crate::support::stage::{Stage, lenient};
use crate::support::{Ended, becomes, dispatcher, eventually, job, number};

/// A daemon whose rate and codes come from a file.
struct World {
    stage: Stage,
    process: Process,
    file: PathBuf,
    _folder: TempDir,
}

impl World {
    async fn start(toml: &str) -> World {
        let accounts = vec![Account::new("C0", "key-0"), Account::new("C1", "key-1")];
        let latency = Latency::Fixed(Duration::from_millis(100));
        let mut stage = Stage::with(Options { accounts, latency, ..lenient() }).await;
        for (name, role) in [("alice", "operator"), ("bob", "viewer")] {
            stage.set(&format!("admin.tokens.{name}.role"), role);
            stage.set(&format!("admin.tokens.{name}.token"), &format!("token-of-{name}"));
        }
        stage.migrate().await;
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("dispatcher.toml");
        std::fs::write(&file, toml).unwrap();
        let process = Process::run_with(&file, &environment(&stage), free_address());
        process.ready().await;
        World { stage, process, file, _folder: folder }
    }

    /// Runs `dispatcher reload` beside the daemon, with its file.
    async fn command(&self, arguments: &[&str]) -> Ended {
        let file = self.file.display().to_string();
        let mut run = dispatcher(&["--config", &file, "reload"]);
        for (name, value) in environment(&self.stage) {
            run = run.env(&name, &value);
        }
        run = run.env("DISPATCHER__ADMIN__LISTEN", &self.process.admin.to_string());
        let run = arguments.iter().fold(run, |run, argument| run.argument(argument));
        tokio::task::spawn_blocking(|| run.run()).await.unwrap()
    }

    /// The same from afar: with the token of `who`, and a file that is not the daemon's.
    async fn far_command(&self, who: &str) -> Ended {
        let token = self.file.with_file_name("token");
        std::fs::write(&token, format!("token-of-{who}\n")).unwrap();
        let url = format!("http://{}", self.process.admin);
        let token = token.display().to_string();
        let run = dispatcher(&["reload", "--url", &url, "--token-file", &token]);
        tokio::task::spawn_blocking(|| run.run()).await.unwrap()
    }

    /// What comes next for a job, as the API tells it.
    async fn next_of(&self, id: &str) -> Value {
        let url = format!("http://{}/api/v1/jobs/{id}", self.process.admin);
        let asked = reqwest::Client::new().get(url).bearer_auth("token-of-bob").send().await.unwrap();
        let job: Value = serde_json::from_str(&asked.text().await.unwrap()).unwrap();
        job["next"].clone()
    }

    /// Writes the file and sends SIGHUP; waits for what is logged of it.
    async fn reload(&self, toml: &str, said: &str) -> String {
        std::fs::write(&self.file, toml).unwrap();
        let before = self.process.log().len();
        self.process.signal("-HUP").await;
        eventually("the log says what came of it", async || {
            let log = self.process.log()[before..].to_owned();
            if log.contains(said) { Ok(log) } else { Err(log) }
        })
        .await
    }
}

/// All but what the file decides.
fn environment(stage: &Stage) -> Vec<(String, String)> {
    let from_file = |(name, _): &(String, String)| name.contains("__A1__") || name.ends_with("MAIN__RATE");
    stage.environment().into_iter().filter(|pair| !from_file(pair)).collect()
}

fn jobs(prefix: &str, range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|n| job(&format!("{prefix}-{n}"), &number(n))).collect()
}

#[tokio::test]
async fn limits_accounts_and_codes_change_and_no_job_is_lost() {
    let world = World::start("[accounts.main]\nrate = \"50/s\"\n[log]\nlevel = \"warn\"\n").await;
    world.stage.publish("normal", &jobs("before", 0..400)).await;
    world.stage.submissions(20).await;
    let toml = "[accounts.main]\nrate = \"2000/s\"\n[accounts.a1]\napi_id = \"C1\"\napi_key = \"key-1\"\n\
                [codes]\n4072 = \"retry\"\n[retry]\ninitial = \"10ms\"\n[log]\nlevel = \"info\"\n";
    let log = world.process.log();
    assert!(!log.contains("dispatcher runs"), "{log}");
    world.reload(toml, "the new configuration is in force").await;
    // The new account is known, and 4072 is another try now.
    let mut late = job("late", &number(900));
    late["account"] = "a1".into();
    world.stage.gateway.script(&number(900), vec![Scripted::Code(4072, "no".into())]);
    world.stage.publish("high", [&late]).await;
    let late = world.stage.settled("late", "accepted").await;
    assert_eq!(late.attempts, 2);
    world.stage.states("accepted 401").await;
    let sent = world.stage.gateway.submissions().len();
    assert_eq!(sent, 402, "each once, but for the one that was refused");
    let (status, log) = world.process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    world.stage.finish().await;
}

#[tokio::test]
async fn a_job_whose_account_was_removed_waits_and_whoever_looks_is_told_why() {
    let account = "[accounts.a1]\napi_id = \"C1\"\napi_key = \"key-1\"\n";
    let world = World::start(account).await;
    let parked = |id: &str, mobile: &str, not_before: &str| {
        let mut job = job(id, mobile);
        (job["account"], job["not_before"]) = ("a1".into(), not_before.into());
        job
    };
    let soon = (chrono::Utc::now() + chrono::Duration::seconds(2)).to_rfc3339();
    world
        .stage
        .publish("normal", [&parked("late", &number(1), "2099-01-01T00:00:00Z"), &parked("soon", &number(2), &soon)])
        .await;
    world.stage.states("waiting/scheduled 2").await;
    world.reload("", "the new configuration is in force").await;
    world.stage.states("waiting/account_paused 1, waiting/scheduled 1").await;
    becomes("the gauge", 2.0, async || Scrape::of(world.process.admin).await.sum("jobs_stranded", &[])).await;
    for id in ["late", "soon"] {
        let next = world.next_of(id).await;
        let told = next["text"].as_str().unwrap();
        assert!(told.starts_with("account a1 is not in this configuration: put it back"), "{next}");
        assert_eq!(next["commands"], serde_json::json!([format!("dispatcher jobs cancel {id}")]));
    }
    world.reload(account, "the new configuration is in force").await;
    world.stage.settled("soon", "accepted").await;
    becomes("the gauge", 0.0, async || Scrape::of(world.process.admin).await.sum("jobs_stranded", &[])).await;
    assert!(world.next_of("late").await["text"].as_str().unwrap().starts_with("it is submitted at 2099-"));
    let (status, log) = world.process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    world.stage.finish_with_backlog().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_so() {
    let good = "[accounts.main]\nrate = \"1000/s\"\n";
    let world = World::start(good).await;
    let log = world.reload("[accounts.main]\nrate = \"fast\"\n[limits]\nmobil = \"1/s\"\n", "limits.mobil").await;
    assert!(log.contains("accounts.main.rate") && log.contains("nothing was changed"), "{log}");
    let log = world.reload(&format!("{good}[rabbitmq]\nprefetch = 7\n"), "only a restart").await;
    assert!(log.contains("rabbitmq.prefetch"), "{log}");
    world.stage.publish("normal", &jobs("after", 0..20)).await;
    world.stage.states("accepted 20").await;
    let (status, log) = world.process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    world.stage.finish().await;
}

#[tokio::test]
async fn a_command_asks_for_it_and_says_what_changed() {
    let world = World::start("[accounts.main]\nrate = \"50/s\"\n").await;
    std::fs::write(&world.file, "[accounts.main]\nrate = \"2000/s\"\n[codes]\n4072 = \"retry\"\n").unwrap();
    let done = world.command(&["--reason", "sale"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (0, "in force: accounts.main.rate, codes.4072\n"), "{done:?}");
    let noted = "operations where action = 'reload' and actor = 'alice' and via = 'api' and count = 2 and reason = 'sale' \
                 and target = '{\"changed\": [\"accounts.main.rate\", \"codes.4072\"]}'";
    assert_eq!(world.stage.db.count(noted).await, 1);
    let again = world.command(&["--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap(), serde_json::json!({"changed": []}), "{again:?}");
    world.stage.publish("normal", &jobs("after", 0..20)).await;
    world.stage.states("accepted 20").await;
    let (status, log) = world.process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    world.stage.finish().await;
}

#[tokio::test]
async fn the_command_prints_each_problem_and_exits_2() {
    let world = World::start("[accounts.main]\nrate = \"50/s\"\n").await;
    std::fs::write(&world.file, "[accounts.main]\nrate = \"fast\"\n[limits]\nmobil = \"1/s\"\n").unwrap();
    for ended in [world.command(&[]).await, world.far_command("alice").await] {
        assert_eq!(ended.code, 2, "{ended:?}");
        for key in ["accounts.main.rate", "limits.mobil"] {
            assert!(ended.stderr.lines().any(|line| line.starts_with("error: ") && line.contains(key)), "{ended:?}");
        }
    }
    let viewer = world.far_command("bob").await;
    assert!(viewer.code == 1 && viewer.stderr.contains("403"), "{viewer:?}");
    std::fs::write(&world.file, "[accounts.main]\nrate = \"50/s\"\n[rabbitmq]\nprefetch = 7\n").unwrap();
    let restart = world.command(&[]).await;
    assert!(restart.code == 2 && restart.stderr.contains("rabbitmq.prefetch: only a restart"), "{restart:?}");
    assert_eq!(world.stage.db.count("operations").await, 0);
    let (status, log) = world.process.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    world.stage.finish().await;
}
