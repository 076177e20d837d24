//! What all connections share: the gateway with its scripts, chances and memory behind one lock that is
//! never held across an await.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::codes::{ACCEPTED, BALANCE_FOUND, message};
use super::gateway::Accepted;
use super::log::Stats;
use super::options::{Options, Receipts};
use super::params::Params;
use super::push::{self, Pusher, Tried};
use super::reply::{Detail, Reply};
use super::script::Answer;
use super::state::{Arrival, State};

/// The shared heart of a simulator.
#[derive(Debug)]
pub struct Engine {
    /// As given at the start.
    pub options: Options,
    receipts: Option<Pusher>,
    replies: Option<Pusher>,
    reviews: Option<Pusher>,
    state: Mutex<State>,
    changed: Notify,
}

/// Where pushes go; `None` where nobody listens.
#[derive(Debug, Default)]
pub struct Pushers {
    /// Receipts.
    pub receipts: Option<Pusher>,
    /// People's replies.
    pub replies: Option<Pusher>,
    /// Reviews of templates.
    pub reviews: Option<Pusher>,
}

impl Engine {
    /// An engine whose pushes go through the given pushers.
    pub fn new(options: Options, pushers: Pushers) -> Self {
        let state = State::new(&options);
        let Pushers { receipts, replies, reviews } = pushers;
        Self { options, receipts, replies, reviews, state: Mutex::new(state), changed: Notify::new() }
    }

    /// The state, for a moment. A panic elsewhere leaves counters at worst, so poison is no reason to stop.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a submit, logs it, and pushes its receipt; the answer is due after the returned delay.
    pub fn submit(&self, request: &Params<'_>, arrival: Arrival) -> (Duration, Answer) {
        let now = unix_now();
        let mut state = self.state();
        let decision = state.decide(request, &self.options.faults, now);
        state.record(request, arrival, &decision, now);
        let receipts = self.draw_receipts(&mut state, request, decision.accepted.as_ref());
        let answer = self.draw_answer(&mut state, decision.accepted.as_ref());
        let latency = self.options.latency.draw(&mut state.rng);
        drop(state);
        self.push_receipts(receipts, now);
        if let (Some((delay, words)), Some(pusher)) = (answer, &self.replies) {
            let mobile = String::from_utf8_lossy(&request.mobile);
            let smsid = decision.accepted.as_ref().map_or("", |accepted| &accepted.smsid);
            pusher.push(delay, push::reply_form(&mobile, &words, smsid, now + delay));
        }
        self.changed.notify_waiters();
        (decision.delay + latency, decision.answer)
    }

    /// Answers a balance query after the returned delay.
    pub fn balance(&self, request: &Params<'_>) -> (Duration, Answer) {
        let mut state = self.state();
        state.stats.balance_queries += 1;
        self.changed.notify_waiters();
        let latency = self.options.latency.draw(&mut state.rng);
        let reply = match state.gateway.balance(request, unix_now()) {
            Ok(num) => Reply { code: ACCEPTED, msg: BALANCE_FOUND.into(), detail: Detail::Num(num) },
            Err(code) => Reply { code, msg: message(code).into(), detail: Detail::Num(0) },
        };
        (latency, Answer::Reply(reply))
    }

    /// Answers a registration after the returned delay, and pushes its review later.
    pub fn add_template(&self, request: &Params<'_>) -> (Duration, Answer) {
        let (now, reviews) = (unix_now(), &self.options.reviews);
        let mut state = self.state();
        let latency = self.options.latency.draw(&mut state.rng);
        let reply = match state.gateway.add_template(request, now) {
            Ok(id) => {
                let (delay, approved) = (reviews.delay.draw(&mut state.rng), state.rng.f64() >= reviews.refused);
                if approved {
                    state.gateway.will_approve(request, &id, now + delay);
                }
                if let Some(pusher) = &self.reviews {
                    pusher.push(latency + delay, push::review_form(approved, &id));
                }
                Reply { code: ACCEPTED, msg: message(ACCEPTED).into(), detail: Detail::TemplateId(id) }
            }
            Err(code) => Reply { code, msg: message(code).into(), detail: Detail::TemplateId("0".into()) },
        };
        (latency, Answer::Reply(reply))
    }

    /// Whether the next request of a connection is to be cut off unread.
    pub fn strikes_before(&self) -> bool {
        let share = self.options.faults.reset_before;
        if share == 0.0 {
            return false;
        }
        let mut state = self.state();
        let strikes = state.rng.f64() < share;
        state.stats.reset_before += u64::from(strikes);
        self.changed.notify_waiters();
        strikes
    }

    /// Waits until the totals satisfy `ready`.
    pub async fn wait_until(&self, ready: impl Fn(&Stats) -> bool) {
        loop {
            // Registered before looking, so that no change falls in between.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if ready(&self.state().stats) {
                return;
            }
            changed.await;
        }
    }

    /// Counts a new connection and numbers it.
    pub fn count_connection(&self) -> u64 {
        let mut state = self.state();
        state.stats.connections += 1;
        self.changed.notify_waiters();
        state.stats.connections
    }

    /// Counts a try of a push.
    pub fn count_push(&self, tried: Tried) {
        let mut state = self.state();
        state.stats.pushes += 1;
        match tried {
            Tried::Taken => state.stats.pushes_taken += 1,
            Tried::GivenUp => state.stats.pushes_given_up += 1,
            Tried::Refused => {}
        }
        self.changed.notify_waiters();
    }

    /// Pushes a person's reply; `false` where no reply URL was given.
    pub fn push_reply(&self, mobile: &str, content: &str, smsid: &str) -> bool {
        let Some(pusher) = &self.replies else {
            return false;
        };
        pusher.push(Duration::ZERO, push::reply_form(mobile, content, smsid, unix_now()));
        true
    }

    /// The receipts that an accepted message will get: delay, serial number, number and code of each.
    fn draw_receipts(&self, state: &mut State, request: &Params<'_>, accepted: Option<&Accepted>) -> Vec<Receipt> {
        let (Some(receipts), Some(accepted)) = (&self.options.receipts, accepted) else {
            return Vec::new();
        };
        let count = if receipts.per_part { accepted.parts.max(1) } else { 1 };
        let mobile = String::from_utf8_lossy(&request.mobile);
        let mut drawn = Vec::new();
        for _ in 0..count {
            let receipt = Receipt::draw(receipts, &mut state.rng, &accepted.smsid, &mobile);
            if state.rng.f64() < receipts.lost {
                continue;
            }
            if state.rng.f64() < receipts.repeated {
                let again = receipts.delay.draw(&mut state.rng);
                drawn.push(Receipt { after: receipt.after + again, ..receipt.clone() });
            }
            drawn.push(receipt);
        }
        drawn
    }

    /// What a person replies to an accepted message, and when.
    fn draw_answer(&self, state: &mut State, accepted: Option<&Accepted>) -> Option<(Duration, String)> {
        let answers = &self.options.answers;
        accepted.filter(|_| answers.share > 0.0 && state.rng.f64() < answers.share)?;
        let words = &answers.words[state.rng.usize(..answers.words.len())];
        Some((answers.delay.draw(&mut state.rng), words.clone()))
    }

    fn push_receipts(&self, receipts: Vec<Receipt>, now: Duration) {
        let Some(pusher) = &self.receipts else { return };
        for receipt in receipts {
            let form = push::receipt_form(receipt.code, &receipt.mobile, &receipt.smsid, now + receipt.delay);
            pusher.push(receipt.after, form);
        }
    }
}

/// A receipt to be pushed.
#[derive(Clone)]
struct Receipt {
    /// From the submit to the report.
    delay: Duration,
    /// From the submit to the push: later for a repeat.
    after: Duration,
    code: i64,
    mobile: String,
    smsid: String,
}

impl Receipt {
    fn draw(receipts: &Receipts, rng: &mut fastrand::Rng, smsid: &str, mobile: &str) -> Self {
        let undelivered = rng.f64() < receipts.undelivered;
        let delay = receipts.delay.draw(rng);
        Self {
            delay,
            after: delay,
            code: if undelivered { receipts.undelivered_code } else { ACCEPTED },
            mobile: mobile.into(),
            smsid: smsid.into(),
        }
    }
}

/// Time since the Unix epoch.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
