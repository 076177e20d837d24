//! Drives the pure [`Pacer`]: gives it the time and tells each job its turn.
//!
//! One pacer lives as long as one consuming session. When the session ends its deliveries come
//! again, so its waiting jobs are dropped with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::domain::job::Timestamp;
use crate::domain::pace::account::AccountPace;
use crate::domain::pace::bucket::{Bucket, Tick};
use crate::domain::pace::{Pacer, Request, Ticket, Turn};

/// How often the pacer tends what waits.
const TEND: Duration = Duration::from_secs(1);

/// The pacer of one session.
pub struct Pace {
    begun: Instant,
    inner: Mutex<Inner>,
    earlier: Notify,
    timer: Mutex<Option<AbortHandle>>,
}

struct Inner {
    pacer: Pacer,
    turns: HashMap<Ticket, oneshot::Sender<Turn>>,
    told: Vec<(Ticket, Turn)>,
    /// When the timer will look again.
    alarm: Option<Tick>,
    next_ticket: Ticket,
    /// The session has ended: nobody is told anything any more.
    ended: bool,
}

impl Pace {
    /// A pacer that begins now, and its timer.
    pub fn start(mobile: Bucket, accounts: &[AccountPace]) -> Arc<Pace> {
        let inner = Inner {
            pacer: Pacer::new(mobile, accounts, Tick::ZERO),
            turns: HashMap::new(),
            told: Vec::new(),
            alarm: None,
            next_ticket: 0,
            ended: false,
        };
        let pace = Arc::new(Pace {
            begun: Instant::now(),
            inner: Mutex::new(inner),
            earlier: Notify::new(),
            timer: Mutex::new(None),
        });
        let timer = tokio::spawn(keep_time(Arc::downgrade(&pace)));
        *lock(&pace.timer) = Some(timer.abort_handle());
        pace
    }

    /// The present, on the monotonic clock.
    pub fn now(&self) -> Tick {
        self.begun.elapsed()
    }

    /// Waits until then; not at all, if it is past.
    pub async fn until(&self, at: Tick) {
        if at > self.now() {
            tokio::time::sleep_until(self.begun + at).await;
        }
    }

    /// A wall-clock time on the monotonic clock; the past is now.
    pub fn tick_of(&self, at: Timestamp, now: Timestamp) -> Tick {
        self.now() + (at - now).to_std().unwrap_or_default()
    }

    /// An instant as a tick; before the session began is its beginning.
    pub fn tick_at(&self, at: Instant) -> Tick {
        at.saturating_duration_since(self.begun)
    }

    /// A tick as wall-clock time.
    pub fn wall(&self, at: Tick, now: Timestamp) -> Timestamp {
        let ahead = at.saturating_sub(self.now());
        chrono::Duration::from_std(ahead).ok().and_then(|ahead| now.checked_add_signed(ahead)).unwrap_or(now)
    }

    /// A job asks for its turn. Not async: jobs keep the order in which they ask. The receiver fails
    /// when the session has ended.
    pub fn enter(&self, request: impl FnOnce(Ticket) -> Request) -> (Ticket, oneshot::Receiver<Turn>) {
        let (turn, told) = oneshot::channel();
        let ticket = self.with(|pacer, now, inner| {
            let ticket = *inner.next_ticket;
            *inner.next_ticket += 1;
            // One that comes too late must not wait for ever: its message comes again.
            if !*inner.ended {
                inner.turns.insert(ticket, turn);
            }
            pacer.enter(request(ticket), now);
            ticket
        });
        (ticket, told)
    }

    /// Does something with the pacer, then tells whom it concerns.
    pub fn act<T>(&self, action: impl FnOnce(&mut Pacer, Tick) -> T) -> T {
        self.with(|pacer, now, _| action(pacer, now))
    }

    fn with<T>(&self, action: impl FnOnce(&mut Pacer, Tick, Lobby<'_>) -> T) -> T {
        let now = self.now();
        let mut inner = lock(&self.inner);
        let Inner { pacer, turns, next_ticket, ended, .. } = &mut *inner;
        let result = action(pacer, now, Lobby { turns, next_ticket, ended });
        if self.tell(&mut inner, now) {
            drop(inner);
            self.earlier.notify_one();
        }
        result
    }

    /// Tells jobs their turns. True if the timer must wake earlier than it means to.
    fn tell(&self, inner: &mut Inner, now: Tick) -> bool {
        let Inner { pacer, turns, told, alarm, .. } = inner;
        let wake = pacer.poll(now, told);
        for (ticket, turn) in told.drain(..) {
            if let Some(waiter) = turns.remove(&ticket) {
                // A job that does not listen any more gives its place back.
                if waiter.send(turn).is_err() && matches!(turn, Turn::Go(_)) {
                    pacer.abandoned(ticket, now);
                }
            }
        }
        let earlier = wake.is_some_and(|wake| alarm.is_none_or(|alarm| wake < alarm));
        if earlier {
            *alarm = wake;
        }
        earlier
    }

    /// Ends the session: who still waits is told that it is over.
    pub fn end(&self) {
        if let Some(timer) = lock(&self.timer).take() {
            timer.abort();
        }
        let mut inner = lock(&self.inner);
        inner.ended = true;
        inner.turns.clear();
    }

    /// The session has ended: what it delivered is delivered again.
    pub fn has_ended(&self) -> bool {
        lock(&self.timer).is_none()
    }
}

/// The parts of [`Inner`] beside the pacer.
struct Lobby<'a> {
    turns: &'a mut HashMap<Ticket, oneshot::Sender<Turn>>,
    next_ticket: &'a mut Ticket,
    ended: &'a bool,
}

/// A poisoned lock means that a panic was reported elsewhere; the state is as good as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn keep_time(pace: std::sync::Weak<Pace>) {
    let mut tend_at = Tick::ZERO;
    loop {
        let Some(strong) = pace.upgrade() else { return };
        let now = strong.now();
        if now >= tend_at {
            strong.act(|pacer, now| pacer.tend(now));
            tend_at = now + TEND;
        }
        let wake = {
            let mut inner = lock(&strong.inner);
            inner.alarm = None;
            strong.tell(&mut inner, now);
            let wake = inner.alarm.unwrap_or(tend_at).min(tend_at);
            inner.alarm = Some(wake);
            strong.begun + wake
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(wake) => {}
            () = strong.earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Priority;
    use crate::domain::mobile::Mobile;
    use crate::domain::pace::Standing;

    #[tokio::test]
    async fn who_enters_after_the_end_waits_for_nothing() {
        let bucket = Bucket { period: Duration::from_secs(1), burst: 1 };
        let account = AccountPace { bucket, max_in_flight: 1, refusals: 0 };
        let pace = Pace::start(bucket, &[account]);
        let (mobile, priority, standing) = (Mobile::parse("13800138000").unwrap(), Priority::Normal, Standing::New);
        let request = |ticket| Request {
            ticket,
            mobile,
            account: 0,
            priority,
            seq: 1,
            standing,
            expires: None,
            quiet: None,
            keep: false,
        };
        let (_, before) = pace.enter(request);
        pace.end();
        let (_, after) = pace.enter(request);
        assert!(before.await.is_err() && after.await.is_err());
    }
}
