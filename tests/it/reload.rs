//! SIGHUP: another configuration is taken up while jobs are under way.

use std::path::PathBuf;
use std::time::Duration;

use dispatcher::simulator::{Account, Latency, Options, Scripted};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::process::{Process, free_address};
use crate::support::stage::{Stage, lenient};
use crate::support::{eventually, job, number};

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
        let stage = Stage::with(Options { accounts, latency, ..lenient() }).await;
        stage.migrate().await;
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("dispatcher.toml");
        std::fs::write(&file, toml).unwrap();
        let from_file = |(name, _): &(String, String)| name.contains("__A1__") || name.ends_with("MAIN__RATE");
        let environment: Vec<_> = stage.environment().into_iter().filter(|pair| !from_file(pair)).collect();
        let process = Process::run_with(&file, &environment, free_address());
        process.ready().await;
        World { stage, process, file, _folder: folder }
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
