//! The short form of `make chaos`: the daemon is killed while it works, and nothing is lost or doubled.

use std::path::PathBuf;
use std::time::Duration;

use crate::storm::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_balance_after_three_kills() {
    let seed = fastrand::u64(..1_000_000_000);
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("books-{seed}.log"));
    let plan = Plan {
        seed,
        jobs: 400,
        crowded: 10,
        kills: 3,
        longest_life: Duration::from_secs(3),
        crashes: Vec::new(),
        hasten: true,
        log: log.clone(),
        talk: false,
    };
    let books = storm::run(&plan).await.unwrap();
    println!("seed {seed}\n{books}");
    assert!(books.balance(), "seed {seed}, log {}:\n{books}", log.display());
    std::fs::remove_file(log).unwrap();
}
