//! Token buckets: governor's GCRA on a clock that we set and on stores that we can look into.
//!
//! governor has no peek and no refund, and its stock stores cannot be seeded; a store of our own
//! (one method) gives all three. Every time is a [`Tick`], so the buckets are exact in tests and do
//! not care about steps of the wall clock.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// Monotonic time since the process started.
pub type Tick = Duration;

/// So many tokens at once, and one more each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Time between two tokens; at least a nanosecond.
    pub period: Duration,
    /// What may go at once; at least one.
    pub burst: u32,
}

impl Bucket {
    fn quota(self) -> Quota {
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        let period = self.period.max(Duration::from_nanos(1));
        Quota::with_period(period).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
    }

    /// The time that the whole burst is worth, less one token: GCRA's tolerance.
    fn tolerance(self) -> Duration {
        self.period * self.burst.saturating_sub(1)
    }

    /// GCRA's state of a bucket that is empty at `now`: the next token comes a period later.
    fn empty_at(self, now: Tick) -> u64 {
        nanos(now + self.period + self.tolerance())
    }
}

/// governor's clock, set before each check.
#[derive(Clone, Debug, Default)]
struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

impl SetClock {
    fn set(&self, now: Tick) {
        self.0.store(nanos(now), Ordering::Relaxed);
    }
}

/// Wraps at 584 years.
fn nanos(tick: Tick) -> u64 {
    tick.as_nanos() as u64
}

/// The bucket of one account.
pub struct AccountBucket {
    bucket: Bucket,
    clock: SetClock,
    limiter: RateLimiter<NotKeyed, OneCell, SetClock, NoOpMiddleware<Nanos>>,
    cell: OneCell,
}

/// GCRA's theoretical arrival time, shared with the limiter so that it can be looked at.
#[derive(Clone)]
struct OneCell(Arc<AtomicU64>);

impl StateStore for OneCell {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (value, next) = f(Some(self.0.load(Ordering::Relaxed).into()))?;
        self.0.store(next.into(), Ordering::Relaxed);
        Ok(value)
    }
}

impl AccountBucket {
    /// A bucket that is empty at `now`: what an earlier owner has used is not known, so it counts
    /// as all used.
    pub fn empty(bucket: Bucket, now: Tick) -> Self {
        let clock = SetClock::default();
        let cell = OneCell(Arc::new(AtomicU64::new(bucket.empty_at(now))));
        let limiter = RateLimiter::new(bucket.quota(), cell.clone(), clock.clone());
        AccountBucket { bucket, clock, limiter, cell }
    }

    /// Takes a token, or says when the next one comes.
    pub fn take(&self, now: Tick) -> Result<(), Tick> {
        self.clock.set(now);
        self.limiter.check().map_err(|not_until| tick(not_until.earliest_possible()))
    }

    /// When the next token comes; `now` or earlier if there is one.
    pub fn next_token(&self) -> Tick {
        Duration::from_nanos(self.cell.0.load(Ordering::Relaxed)).saturating_sub(self.bucket.tolerance())
    }

    /// Gives the token back that was taken last.
    pub fn refund(&self) {
        let tat = self.cell.0.load(Ordering::Relaxed);
        self.cell.0.store(tat.saturating_sub(nanos(self.bucket.period)), Ordering::Relaxed);
    }
}

fn tick(at: Nanos) -> Tick {
    Duration::from_nanos(at.into())
}

/// Shards of the mobile store: each is swept and grows by itself, so neither takes long.
const SHARDS: usize = 64;

/// A bucket a mobile number; idle ones are evicted. 17 bytes a bucket slot, about 30 a number.
pub struct MobileBuckets {
    bucket: Bucket,
    clock: SetClock,
    limiter: RateLimiter<u64, MobileCells, SetClock, NoOpMiddleware<Nanos>>,
    cells: MobileCells,
    sweep_next: usize,
}

type Shard = HashMap<u64, u64, foldhash::fast::FixedState>;

#[derive(Clone)]
struct MobileCells {
    shards: Arc<Vec<Mutex<Shard>>>,
    /// The state of a number that has no entry.
    unknown: u64,
}

impl MobileCells {
    fn shard(&self, mobile: u64) -> std::sync::MutexGuard<'_, Shard> {
        // The last digits of a number are well spread.
        let shard = &self.shards[(mobile % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn get(&self, mobile: u64) -> u64 {
        self.shard(mobile).get(&mobile).copied().unwrap_or(self.unknown)
    }
}

impl StateStore for MobileCells {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, mobile: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*mobile);
        let before = shard.get(mobile).copied().unwrap_or(self.unknown);
        let (value, next) = f(Some(before.into()))?;
        shard.insert(*mobile, next.into());
        Ok(value)
    }
}

impl MobileBuckets {
    /// Buckets that all count as just used at `now`.
    pub fn just_used(bucket: Bucket, now: Tick) -> Self {
        let clock = SetClock::default();
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        let cells = MobileCells { shards: Arc::new(shards), unknown: bucket.empty_at(now) };
        let limiter = RateLimiter::new(bucket.quota(), cells.clone(), clock.clone());
        MobileBuckets { bucket, clock, limiter, cells, sweep_next: 0 }
    }

    /// Time between two tokens.
    pub fn period(&self) -> Duration {
        self.bucket.period
    }

    /// Takes a token of `mobile`, or says when the next one comes.
    pub fn take(&self, mobile: u64, now: Tick) -> Result<(), Tick> {
        self.clock.set(now);
        self.limiter.check_key(&mobile).map_err(|not_until| tick(not_until.earliest_possible()))
    }

    /// When `mobile` has its next token; `now` or earlier if it has one.
    pub fn next_token(&self, mobile: u64) -> Tick {
        Duration::from_nanos(self.cells.get(mobile)).saturating_sub(self.bucket.tolerance())
    }

    /// The token taken at `granted` was used at `used`: the next one comes that much later, so that
    /// the distance holds at the gateway and not only here. A number that was evicted in between had
    /// a full bucket.
    pub fn used_later(&self, mobile: u64, granted: Tick, used: Tick) {
        let full = nanos(used + self.bucket.period);
        let late = nanos(used.saturating_sub(granted));
        self.cells.shard(mobile).entry(mobile).and_modify(|tat| *tat += late).or_insert(full);
    }

    /// Gives the token back that `mobile` took last.
    pub fn refund(&self, mobile: u64) {
        if let Some(tat) = self.cells.shard(mobile).get_mut(&mobile) {
            *tat = tat.saturating_sub(nanos(self.bucket.period));
        }
    }

    /// Evicts the numbers of one shard whose bucket is full again, and returns how many numbers it
    /// still tracks. Call it now and then; each call pauses for about a millisecond at most at ten
    /// million numbers.
    pub fn sweep(&mut self, now: Tick) -> usize {
        let mut shard = self.cells.shards[self.sweep_next].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.sweep_next = (self.sweep_next + 1) % SHARDS;
        // Until `unknown` has passed, an absent number is not a fresh one.
        let fresh_from = nanos(now);
        if self.cells.unknown <= fresh_from {
            shard.retain(|_, tat| *tat > fresh_from);
        }
        if shard.capacity() > 64 && shard.capacity() / 4 > shard.len() {
            shard.shrink_to_fit();
        }
        shard.len()
    }

    /// Numbers that are tracked now.
    pub fn len(&self) -> usize {
        (0..SHARDS as u64).map(|shard| self.cells.shard(shard).len()).sum()
    }

    /// True when no number is tracked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ONE_A_SECOND: Bucket = Bucket { period: SECOND, burst: 1 };

    fn at(ms: u64) -> Tick {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_number_counts_as_just_used_at_the_start() {
        let buckets = MobileBuckets::just_used(ONE_A_SECOND, at(5_000));
        assert_eq!(buckets.take(1, at(5_000)), Err(at(6_000)));
        assert_eq!(buckets.next_token(1), at(6_000));
        assert_eq!(buckets.take(1, at(6_000)), Ok(()));
        assert_eq!(buckets.take(1, at(6_500)), Err(at(7_000)));
        assert_eq!(buckets.take(2, at(9_000)), Ok(()));
        assert_eq!(buckets.take(2, at(9_999)), Err(at(10_000)));
    }

    #[test]
    fn a_burst_goes_at_once_and_is_empty_at_the_start() {
        let bucket = AccountBucket::empty(Bucket { period: at(10), burst: 5 }, at(0));
        assert_eq!(bucket.take(at(0)), Err(at(10)));
        let taken = (0..10).filter(|_| bucket.take(at(1_000)).is_ok()).count();
        assert_eq!(taken, 5);
        bucket.refund();
        assert_eq!(bucket.take(at(1_000)), Ok(()));
        assert_eq!(bucket.next_token(), at(1_010));
    }

    #[test]
    fn a_token_used_late_moves_the_next_one() {
        let buckets = MobileBuckets::just_used(ONE_A_SECOND, at(0));
        buckets.take(1, at(1_000)).unwrap();
        buckets.used_later(1, at(1_000), at(1_030));
        assert_eq!(buckets.take(1, at(2_000)), Err(at(2_030)));
        buckets.refund(1);
        assert_eq!(buckets.take(1, at(2_000)), Ok(()));
    }

    #[test]
    fn a_number_that_was_evicted_before_its_token_was_used_keeps_the_distance() {
        let mut buckets = MobileBuckets::just_used(ONE_A_SECOND, at(0));
        buckets.take(1, at(1_000)).unwrap();
        (0..SHARDS).for_each(|_| drop(buckets.sweep(at(3_000))));
        buckets.used_later(1, at(1_000), at(3_500));
        assert_eq!(buckets.take(1, at(3_600)), Err(at(4_500)));
    }

    #[test]
    fn idle_numbers_are_evicted() {
        let mut buckets = MobileBuckets::just_used(ONE_A_SECOND, at(0));
        (0..1_000).for_each(|mobile| buckets.take(mobile, at(2_000)).unwrap());
        (0..SHARDS).for_each(|_| {
            buckets.sweep(at(2_500));
        });
        assert_eq!(buckets.len(), 1_000);
        (0..SHARDS).for_each(|_| {
            buckets.sweep(at(3_000));
        });
        assert!(buckets.is_empty());
    }
}
