//! Large messages. The prefetch counts messages, not bytes: a thousand messages of 10 MB would fill
//! the memory. So their bodies share a budget. One that finds no room is set aside, without its body,
//! and given back to its queue as soon as there is room: then it comes again.
//!
//! A job has a few hundred bytes; one with all the metadata that it may have gets here only if that is written in
//! escapes (10 kB). Nearly always what does is no job, and is kept among the rejections, as it came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;

use super::ack::Fate;

/// Longer bodies are large, in bytes. The default prefetch of four thousand below it is 32 MB for each priority.
const LARGE: usize = 8 * 1024;
/// What large bodies may take together, in bytes. A single one may be larger.
const BUDGET: usize = 16 * 1024 * 1024;
/// What was called back and does not come has gone to the dead-letter queue; then the next is called.
const OVERDUE: Duration = Duration::from_secs(1);

/// The large messages of one session.
#[derive(Default)]
pub(super) struct Large(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    held: usize,
    /// Given back to their queue for room that there is, and not here again.
    called: usize,
    aside: VecDeque<Aside>,
}

/// A delivery whose body was dropped.
struct Aside {
    bytes: usize,
    tag: u64,
    fates: mpsc::UnboundedSender<Fate>,
}

/// Room for one body, given back when dropped.
pub(super) struct Room(Option<(Arc<Large>, usize)>);

impl Large {
    /// Room for a body of so many bytes; `None` where it was set aside: then the body must go.
    pub fn admit(self: &Arc<Self>, bytes: usize, tag: u64, fates: &mpsc::UnboundedSender<Fate>) -> Option<Room> {
        if bytes <= LARGE {
            return Some(Room(None));
        }
        let mut inner = self.inner();
        inner.called = inner.called.saturating_sub(bytes);
        if inner.held > 0 && inner.held + bytes > BUDGET {
            inner.aside.push_back(Aside { bytes, tag, fates: fates.clone() });
            return None;
        }
        inner.held += bytes;
        Some(Room(Some((self.clone(), bytes))))
    }

    /// Calls for what waits too long. Never ends.
    pub async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(OVERDUE).await;
            let mut inner = self.inner();
            if inner.held == 0 {
                inner.call_back();
            }
        }
    }

    /// The session ends: what was set aside goes back with it.
    pub fn forget(&self) {
        self.inner().aside.clear();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    /// Gives back to their queue as many as there is room for.
    fn call_back(&mut self) {
        if self.held == 0 {
            self.called = 0;
        }
        let fits = |taken: usize, next: &Aside| taken == 0 || taken + next.bytes <= BUDGET;
        while let Some(next) = self.aside.pop_front_if(|next| fits(self.held + self.called, next)) {
            self.called += next.bytes;
            // When the channel is gone it comes again anyway.
            let _ = next.fates.send(Fate::Nack(next.tag));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((large, bytes)) = self.0.take() {
            let mut inner = large.inner();
            inner.held -= bytes;
            inner.call_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_share_the_budget_and_small_ones_pass() {
        let (fates, mut told) = mpsc::unbounded_channel();
        let large = Arc::new(Large::default());
        let first = large.admit(BUDGET / 2, 1, &fates);
        let second = large.admit(BUDGET / 2, 2, &fates);
        assert!(first.is_some() && second.is_some());
        assert!(large.admit(LARGE + 1, 3, &fates).is_none() && large.admit(LARGE + 1, 4, &fates).is_none());
        assert!(large.admit(LARGE, 5, &fates).is_some(), "a small one needs no room");
        assert!(told.try_recv().is_err());
        drop(first);
        let mut tags = std::iter::from_fn(|| match told.try_recv() {
            Ok(Fate::Nack(tag)) => Some(tag),
            _ => None,
        });
        assert!(tags.by_ref().eq([3, 4]), "as many as there is room for");
        assert!(large.admit(BUDGET / 2 + 1, 6, &fates).is_none());
        let back = large.admit(LARGE + 1, 7, &fates);
        drop(second);
        drop(back);
        assert!(tags.eq([6]));
    }

    #[test]
    fn one_beyond_the_budget_goes_alone() {
        let (fates, mut told) = mpsc::unbounded_channel();
        let large = Arc::new(Large::default());
        let first = large.admit(3 * BUDGET, 1, &fates);
        assert!(first.is_some() && large.admit(2 * BUDGET, 2, &fates).is_none());
        drop(first);
        assert!(matches!(told.try_recv(), Ok(Fate::Nack(2))));
        large.admit(2 * BUDGET, 3, &fates).unwrap();
        large.forget();
        assert!(told.try_recv().is_err());
    }
}
