//! Poison and pressure: the short form of what `make chaos` does at length.

use std::path::PathBuf;

use crate::storm::pressure::{Load, MOST_MIB, press};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_stays_small_and_others_keep_their_pace() {
    let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("pressure-{}.log", fastrand::u64(..)));
    let load = Load { oversize: 15, deep: 20, repeats: 5_000, backlog: 2_000, parked: 2_000 };
    for part in press(&load, &log).await.unwrap() {
        assert!(part.peak_mib < MOST_MIB, "{part}");
        // Jobs of another priority wait for nothing but the machine.
        assert!(part.normal[0] < 5.0, "{part}");
    }
    std::fs::remove_file(log).unwrap();
}
