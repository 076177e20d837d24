//! `check`: against real services and a simulated gateway.

use dispatcher::simulator::{Account, Options, Simulator};

use crate::support::{Ended, Run, TestDb, amqp_url, dispatcher};

fn check(simulator: &Simulator, db: &TestDb, key: &str) -> Run {
    dispatcher(&["check"])
        .amqp(&amqp_url())
        .postgres(db.url())
        .env("DISPATCHER__GATEWAY__SUBMIT_URL", &simulator.submit_url())
        .env("DISPATCHER__GATEWAY__BALANCE_URL", &simulator.balance_url())
        .env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
        .env("DISPATCHER__ACCOUNTS__MAIN__API_KEY", key)
}

async fn ended(run: Run) -> Ended {
    tokio::task::spawn_blocking(|| run.run()).await.unwrap()
}

async fn simulator(change: impl FnOnce(&mut Account)) -> Simulator {
    let mut account = Account::new("C00000001", "right-key");
    change(&mut account);
    Simulator::start(Options { accounts: vec![account], ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn all_is_well() {
    let (simulator, db) = (simulator(|account| account.balance = 8_000).await, TestDb::create());
    dispatcher(&["migrate"]).postgres(db.url()).ok();
    let ended = ended(check(&simulator, &db, "right-key")).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    assert!(ended.stdout.lines().all(|line| line.starts_with("ok ")), "{ended:?}");
    assert!(ended.stdout.contains("accounts.main    8000 messages left"), "{ended:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn each_thing_that_is_wrong_has_a_line_with_its_cure() {
    let (simulator, db) = (simulator(|_| {}).await, TestDb::create());
    let wrong_vhost = amqp_url().replace("%2f", "no-such-vhost");
    let ended = ended(check(&simulator, &db, "wrong-key").amqp(&wrong_vhost)).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    for (line, start, cure) in [
        (lines[0], "ok    config", ""),
        (lines[1], "FAIL  rabbitmq", "virtual host (%2f is /)"),
        (lines[2], "FAIL  postgres", "dispatcher migrate"),
        (lines[3], "FAIL  accounts.main", "compare accounts.main.api_id and api_key"),
    ] {
        assert!(line.starts_with(start) && line.contains(cure), "{line}");
    }
    simulator.stop().await;
}

#[tokio::test]
async fn an_address_that_is_not_this_machines_is_said() {
    let ended = ended(
        dispatcher(&["check"])
            .env("DISPATCHER__ADMIN__LISTEN", "203.0.113.1:9464")
            .env("DISPATCHER__ACCOUNTS__MAIN__API_ID", "C00000001")
            .env("DISPATCHER__ACCOUNTS__MAIN__API_KEY", "key")
            .env("DISPATCHER__GATEWAY__SUBMIT_URL", "http://127.0.0.1:1/?method=Submit"),
    )
    .await;
    assert!(ended.stdout.contains("FAIL  admin.listen     203.0.113.1:9464 cannot be bound"), "{ended:?}");
    assert!(ended.stdout.contains("correct gateway.submit_url"), "{ended:?}");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_not_well() {
    let (simulator, db) = (simulator(|_| {}).await, TestDb::create());
    dispatcher(&["migrate"]).postgres(db.url()).ok();
    let read_only = format!("{}?options=-c%20default_transaction_read_only=on", db.url());
    let ended = ended(check(&simulator, &db, "right-key").postgres(&read_only)).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("FAIL  postgres         it takes no writes"), "{ended:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn a_machine_that_is_not_registered_is_told_so() {
    let (simulator, db) = (simulator(|account| account.ip_denied = true).await, TestDb::create());
    let run = check(&simulator, &db, "right-key").amqp("amqp://guest:guest@127.0.0.1:1/%2f");
    let ended = ended(run.postgres("postgres://x@127.0.0.1:1/x").argument("--json")).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    let cures: Vec<&str> = failed.map(|check| check["cure"].as_str().unwrap()).collect();
    for (cure, words) in cures.iter().zip(["start RabbitMQ", "start Postgres", "public IP address"]) {
        assert!(cure.contains(words), "{cure}");
    }
    assert_eq!(cures.len(), 3, "{ended:?}");
    simulator.stop().await;
}
