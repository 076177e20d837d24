//! The memory of the limiter of mobile numbers, in a process of its own.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dispatcher::domain::pace::bucket::{Bucket, MobileBuckets};
use serde::{Deserialize, Serialize};

use crate::process::status_mib;

/// What so many numbers cost.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Mobiles {
    /// Numbers tracked.
    pub numbers: u64,
    /// Growth of the resident memory, in MiB, with all of them tracked.
    pub mib: f64,
    /// The same after all were evicted.
    pub mib_evicted: f64,
    /// Numbers taken a second, one thread.
    pub takes_per_second: f64,
    /// Numbers still tracked after all have been idle.
    pub left: usize,
}

/// Takes a token for each of `numbers`, then sweeps until all are evicted; prints a [`Mobiles`] as JSON.
pub fn run(numbers: u64) -> anyhow::Result<()> {
    let bucket = Bucket { period: Duration::from_secs(1), burst: 1 };
    let resident = || status_mib(std::process::id(), "VmRSS:");
    let before = resident()?;
    let mut buckets = MobileBuckets::just_used(bucket, Duration::ZERO);
    let begun = Instant::now();
    for number in 0..numbers {
        // All within one second of the limiter's clock, in no order that a table could profit from.
        let mobile = 13_000_000_000 + number.wrapping_mul(7_368_787) % 6_000_000_000;
        let _ = buckets.take(mobile, Duration::from_secs(5));
    }
    let took = begun.elapsed();
    let tracked = buckets.len() as u64;
    ensure!(tracked == numbers, "{tracked} numbers are tracked, not {numbers}");
    let full = resident()?;
    // A sweep looks at one shard; there are 64.
    for _ in 0..64 {
        buckets.sweep(Duration::from_secs(60));
    }
    let mobiles = Mobiles {
        numbers,
        mib: full - before,
        mib_evicted: resident()? - before,
        takes_per_second: numbers as f64 / took.as_secs_f64(),
        left: buckets.len(),
    };
    println!("{}", serde_json::to_string(&mobiles)?);
    Ok(())
}
