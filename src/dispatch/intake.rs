//! A message arrives: it is decoded and gets its place in the order of its number.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{Instrument, info_span};

use super::deliver::{Delivered, Parcel, Start};
use super::desk::Desk;
use super::pacer::Pace;
use super::ports::{Arrival, Entry, Intake, Refusal, Settle};
use super::recent;
use crate::domain::job::{Job, Priority, Timestamp, WaitReason};
use crate::domain::message::{self, Rejection};
use crate::domain::mobile::Mobile;
use crate::domain::pace::{Mode, Request, Standing};
use crate::domain::trace::TraceParent;

/// A job whose message has come again so often goes to Postgres at once, where nothing counts. Else a
/// night of restarts would carry it to the queue's delivery limit, although the fault is another's.
const WEARY: u32 = 5;

/// The intake of one consuming session.
pub(super) struct Reception {
    pub desk: Arc<Desk>,
    pub pace: Arc<Pace>,
}

/// Where a job lines up.
struct Place {
    account: usize,
    seq: i64,
    standing: Standing,
    keep: bool,
}

impl Intake for Reception {
    fn arrive(&self, arrival: Arrival) {
        if self.desk.is_draining() {
            // Not settled: it goes back to its queue when the session closes.
            return;
        }
        self.desk.metrics.received.with_label_values(&[arrival.priority.as_str()]).inc();
        let decode = if arrival.released.is_some() { message::decode_released } else { message::decode };
        match (decode(&arrival.body, &arrival.properties, &self.desk.settings.rules), arrival.released) {
            (Ok(job), _) => self.receive(job, arrival),
            (Err(rejection), Some(seq)) => self.put_back(rejection, arrival, seq),
            (Err(rejection), None) => self.refuse(rejection, arrival),
        }
    }
}

impl Reception {
    fn receive(&self, job: Job, arrival: Arrival) {
        let key = recent::key(&job);
        if arrival.released.is_none() && self.desk.recent.contains(&key, Instant::now()) {
            self.desk.note_repeat(arrival.redelivered);
            return arrival.delivery.ack();
        }
        let now = self.desk.now();
        let known = self.at_once(&job, now);
        // What goes on waiting waits with its own account: when its time comes, a pause may be over.
        let account = self.route(&job.account, arrival.bound || known.is_some());
        let (seq, standing) = self.place(&job, &arrival);
        let keep = arrival.returns >= WEARY;
        let start = match known {
            Some(entry) => {
                if standing == Standing::Released {
                    self.pace.act(|pacer, _| pacer.returned(account, job.mobile, job.priority, seq));
                }
                Start::Known(entry)
            }
            None => self.line_up(&job, Place { account, seq, standing, keep }, now),
        };
        let journey = self.desk.journey(&job);
        let traced = job.traceparent.as_deref().and_then(TraceParent::parse);
        let parcel = Parcel {
            journey,
            job: Arc::new(job),
            key,
            account,
            seq,
            released: arrival.released.is_some(),
            redelivered: arrival.redelivered,
            pace: self.pace.clone(),
            body: arrival.body,
            delivery: arrival.delivery,
        };
        let desk = self.desk.clone();
        let way = async move { settle(desk.deliver(&parcel, start).await, &*parcel.delivery) };
        match traced {
            None => self.desk.tasks.spawn(way),
            // Its log lines say which trace they belong to.
            Some(TraceParent { trace, .. }) => {
                let trace_id = format!("{:032x}", u128::from_be_bytes(trace));
                self.desk.tasks.spawn(way.instrument(info_span!("job", trace_id)))
            }
        };
    }

    /// What needs no turn at a limiter.
    fn at_once(&self, job: &Job, now: Timestamp) -> Option<Entry> {
        if job.is_expired(now) {
            return Some(Entry::Expired);
        }
        let due_at = job.not_before.filter(|at| *at > now)?;
        Some(Entry::Wait { reason: WaitReason::Scheduled, due_at: Some(due_at), on_room: false })
    }

    /// The job's place in the order of arrival. A message that comes again was in the memory of a
    /// former owner, so it stands before what that one had parked.
    fn place(&self, job: &Job, arrival: &Arrival) -> (i64, Standing) {
        if let Some(seq) = arrival.released {
            return (seq, Standing::Released);
        }
        let place = || self.pace.act(|pacer, _| pacer.place(job.mobile, job.priority, job.published_at));
        match arrival.redelivered.then(place).flatten() {
            Some(seq) => (seq, Standing::Before),
            None => (self.desk.next_seq(), Standing::New),
        }
    }

    fn line_up(&self, job: &Job, place: Place, now: Timestamp) -> Start {
        let (mobile, priority) = (job.mobile, job.priority);
        let Place { account, seq, standing, keep } = place;
        let expires = job.expires_at.map(|at| self.pace.tick_of(at, now));
        let quiet = self.desk.settings.quiet.ends(priority, now).map(|at| self.pace.tick_of(at, now));
        let request = |ticket| Request { ticket, mobile, account, priority, seq, standing, expires, quiet, keep };
        let (ticket, turn) = self.pace.enter(request);
        Start::Turn(ticket, turn)
    }

    /// The account that sends: the job's own, or the first in its chain of fallbacks that may send. One that is
    /// `bound` stays with its own, which may have taken it.
    fn route(&self, name: &str, bound: bool) -> usize {
        let own = self.desk.settings.account(name).unwrap_or_default();
        if bound {
            return own;
        }
        self.pace.act(|pacer, _| {
            self.desk.settings.chain(own).find(|account| pacer.mode(*account) != Mode::Paused).unwrap_or(own)
        })
    }

    /// Keeps what is no job, and acknowledges it once that is committed.
    fn refuse(&self, rejection: Rejection, arrival: Arrival) {
        let desk = self.desk.clone();
        self.desk.tasks.spawn(async move {
            let refusal = Refusal { rejection, body: arrival.body.into(), properties: arrival.delivery.describe() };
            settle(desk.refuse(refusal).await, &*arrival.delivery);
        });
    }

    /// A released job that is none any more, such as one of an account that was removed, waits again. It is no
    /// publisher's mistake.
    fn put_back(&self, rejection: Rejection, arrival: Arrival, seq: i64) {
        let Some(id) = arrival.properties.message_id.clone() else { return self.refuse(rejection, arrival) };
        tracing::warn!(job = id, problem = rejection.detail, "a parked job does not fit the configuration and waits");
        self.is_back(&arrival, seq);
        let desk = self.desk.clone();
        self.desk.tasks.spawn(async move {
            let Arrival { body, delivery, .. } = arrival;
            let refusal = Refusal { rejection, body: body.into(), properties: delivery.describe() };
            settle(desk.put_back(id, refusal).await, &*delivery);
        });
    }

    /// The pacer waits for what was released, whatever has become of it: its message says enough.
    fn is_back(&self, arrival: &Arrival, seq: i64) {
        let key = &arrival.properties.routing_key;
        let Some(mobile) = key.split('.').nth(1).and_then(|number| Mobile::parse_any(number).ok()) else { return };
        let priority = Priority::of_routing_key(key);
        let account = message::account_named(&arrival.body).and_then(|name| self.desk.settings.account(&name));
        self.pace.act(|pacer, _| match account {
            Some(account) => pacer.returned(account, mobile, priority, seq),
            None => pacer.not_parked(mobile, priority, seq),
        });
    }
}

fn settle(delivered: Delivered, delivery: &dyn Settle) {
    match delivered {
        Delivered::Settled => delivery.ack(),
        Delivered::Unsettled => delivery.nack(),
        Delivered::Left => {}
    }
}
