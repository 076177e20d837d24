//! Events go from the outbox to their exchange: read, published, confirmed, deleted, in this order. A
//! crash in between leaves rows that are published again, under the same ids.
//!
//! The exchange may have its troubles: a relay that waits for it holds up nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::BATCH;
use super::aside::Aside;
use crate::dispatch::desk::Desk;
use crate::dispatch::ports::PublishError;
use crate::dispatch::reconnect::Delays;
use crate::domain::event::Event;

/// Rounds begin no closer together, unless there is a whole batch more: under load many events share a
/// statement.
const ROUND: Duration = Duration::from_millis(100);
/// The same, while events stand aside: each round names them all.
const SLOW_ROUND: Duration = Duration::from_secs(1);
/// A broker that confirms nothing for so long (it blocks publishers, say) counts as away.
const LIMIT: Duration = Duration::from_secs(30);
/// What the last jobs of a process have to say goes out before its end, if it can in this time.
const LAST: Duration = Duration::from_secs(2);

/// What a round comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There is more.
    AtOnce,
    /// What was published must be deleted, and more may have come meanwhile.
    Soon,
    /// There is nothing to do until a hint, or until polling finds something.
    Hint,
    /// Postgres or RabbitMQ does not do its part.
    Later,
}

pub(super) async fn run(desk: Arc<Desk>, stop: CancellationToken) {
    let delays = Delays::new(desk.settings.tempo.reconnect);
    let mut relay = Relay { desk, aside: Aside::new(Instant::now()), done: Vec::new(), delays, in_trouble: false };
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let next = relay.round(&stop).await;
        relay.rest(next, begun, &stop).await;
    }
    if relay.desk.is_draining() {
        let _ = timeout(LAST, relay.say_all()).await;
    }
}

struct Relay {
    desk: Arc<Desk>,
    aside: Aside,
    /// Published, not yet deleted.
    done: Vec<i64>,
    delays: Delays,
    in_trouble: bool,
}

impl Relay {
    async fn round(&mut self, stop: &CancellationToken) -> Next {
        let (left_out, room) = self.aside.begin(BATCH, Instant::now());
        let events = match self.desk.ports.outbox.turn(&self.done, &left_out, room).await {
            Ok(events) => events,
            Err(error) => return self.trouble(&error.to_string()),
        };
        self.done.clear();
        self.aside.found(&events, room);
        let count = events.len();
        let published = tokio::select! {
            biased;
            published = self.publish(events) => published,
            // A broker that blocks must not hold up the next session; a process that ends waits a little.
            () = stop.cancelled(), if !self.desk.is_draining() => return Next::Hint,
        };
        self.aside.end(Instant::now());
        match published {
            Err(error) => self.trouble(&error.0),
            Ok(()) => {
                self.well();
                match count {
                    0 => Next::Hint,
                    count if count == BATCH as usize => Next::AtOnce,
                    _ => Next::Soon,
                }
            }
        }
    }

    /// In waves: a job's next event leaves when the broker has the one before.
    async fn publish(&mut self, events: Vec<Event>) -> Result<(), PublishError> {
        for wave in waves(events) {
            let wave: Vec<Event> = wave.into_iter().filter(|event| !self.aside.holds(event)).collect();
            if wave.is_empty() {
                continue;
            }
            let announced = timeout(LIMIT, self.desk.ports.announcer.announce(&wave)).await;
            let taken = announced.map_err(|_| PublishError("no confirm within 30 s".into()))??;
            let refused_before = !self.aside.is_empty();
            for (event, taken) in wave.iter().zip(taken) {
                if taken {
                    self.aside.taken(event);
                    self.done.push(event.number);
                    self.desk.metrics.event_published(&event.kind);
                } else {
                    self.aside.refused(event, Instant::now());
                }
            }
            if !refused_before && !self.aside.is_empty() {
                warn!("the broker refuses events: a queue bound to the exchange of events is full or has no leader");
            }
        }
        Ok(())
    }

    /// Waits until the next round is due.
    async fn rest(&mut self, next: Next, begun: Instant, stop: &CancellationToken) {
        let earliest = begun + if self.aside.is_empty() { ROUND } else { SLOW_ROUND };
        let delay = if next == Next::Later { self.delays.next_delay(self.desk.jitter()) } else { Duration::ZERO };
        let due = async {
            match next {
                Next::AtOnce => {}
                Next::Soon => sleep_until(earliest).await,
                Next::Hint => {
                    let _ = timeout(self.desk.settings.tempo.events, self.desk.announced.notified()).await;
                    sleep_until(earliest).await;
                }
                Next::Later => sleep(delay).await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = due => {}
        }
    }

    /// Until nothing is left that can be published now, and what was published is deleted.
    async fn say_all(&mut self) {
        let never = CancellationToken::new();
        while matches!(self.round(&never).await, Next::AtOnce | Next::Soon) {}
    }

    fn trouble(&mut self, why: &str) -> Next {
        if self.in_trouble {
            debug!(why, "events still wait");
        } else {
            warn!(why, "events wait");
        }
        self.in_trouble = true;
        Next::Later
    }

    fn well(&mut self) {
        if self.in_trouble {
            info!("events are published again");
        }
        self.in_trouble = false;
        self.delays.reset();
    }
}

/// One event of each job in a wave, in the order of their numbers.
fn waves(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut waves: Vec<Vec<Event>> = Vec::new();
    let mut next: HashMap<String, usize> = HashMap::new();
    for event in events {
        let wave = match &event.job_id {
            None => 0,
            Some(job) => {
                let next = next.entry(job.clone()).or_default();
                *next += 1;
                *next - 1
            }
        };
        if wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[wave].push(event);
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_events_go_one_after_the_other() {
        let event = |(number, job): (i64, &str)| Event {
            number,
            kind: "job.accepted".into(),
            job_id: Some(job.to_owned()).filter(|job| !job.is_empty()),
            at: "2026-11-23T02:00:00Z".parse().unwrap(),
            data: "{}".into(),
        };
        let events = [(1, "a"), (2, "b"), (3, "a"), (4, ""), (5, "a"), (6, ""), (7, "b")].map(event).to_vec();
        let numbers: Vec<Vec<i64>> =
            waves(events).iter().map(|wave| wave.iter().map(|event| event.number).collect()).collect();
        assert_eq!(numbers, [vec![1, 2, 4, 6], vec![3, 7], vec![5]]);
        assert!(waves(Vec::new()).is_empty());
    }
}
