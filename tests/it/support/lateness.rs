//! How late this machine is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// Watches how late timers of this runtime fire: what left in time may have been read by the gateway so much
/// later, and nearer to what came next. A few milliseconds, unless the machine is overloaded.
pub struct Lateness {
    worst: Arc<AtomicU64>,
    _watch: AbortOnDropHandle<()>,
}

impl Lateness {
    pub fn watch() -> Lateness {
        let worst = Arc::new(AtomicU64::new(0));
        let seen = worst.clone();
        let watch = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(LOOK).await;
                seen.fetch_max((begun.elapsed() - LOOK).as_micros() as u64, Ordering::Relaxed);
            }
        });
        Lateness { worst, _watch: AbortOnDropHandle::new(watch) }
    }

    /// The worst so far, in seconds.
    pub fn worst(&self) -> f64 {
        self.worst.load(Ordering::Relaxed) as f64 / 1e6
    }
}
