//! What all connections share: the gateway with its scripts, chances and memory behind one lock that is
//! never held across an await.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::codes::{ACCEPTED, BALANCE_FOUND, message};
use super::gateway::{Accepted, Gateway};
use super::log::{Log, Stats, Submission};
use super::options::{Options, Receipts};
use super::params::Params;
use super::push::{self, Pusher, Tried};
use super::reply::{Detail, Reply};
use super::script::{Answer, Fault, Scripted};

/// The shared heart of a simulator.
#[derive(Debug)]
pub struct Engine {
    /// As given at the start.
    pub options: Options,
    receipts: Option<Pusher>,
    replies: Option<Pusher>,
    state: Mutex<State>,
    logged: Notify,
}

/// What requests change.
#[derive(Debug)]
pub struct State {
    /// The judge.
    pub gateway: Gateway,
    /// Scripted answers by number.
    pub scripts: HashMap<Vec<u8>, VecDeque<Scripted>>,
    /// The newest submissions.
    pub log: Log,
    /// Totals.
    pub stats: Stats,
    rng: fastrand::Rng,
}

/// How a submit came in, for the log.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// `xml` or `json`.
    pub format: &'static str,
    /// Number of the connection.
    pub connection: u64,
}

/// What to do with one submit.
struct Decision {
    answer: Answer,
    delay: Duration,
    code: Option<i64>,
    accepted: Option<Accepted>,
    fault: Option<&'static str>,
}

impl Engine {
    /// An engine whose pushes go through the given pushers.
    pub fn new(options: Options, receipts: Option<Pusher>, replies: Option<Pusher>) -> Self {
        let rng = options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        // Serials start anywhere, so that a simulator restarted within a second repeats none.
        let serial = fastrand::u64(..10_000_000_000);
        let state = State {
            gateway: Gateway::new(options.accounts.clone(), options.rules.clone(), options.window, serial),
            scripts: HashMap::new(),
            log: Log::new(options.log),
            stats: Stats::default(),
            rng,
        };
        Self { options, receipts, replies, state: Mutex::new(state), logged: Notify::new() }
    }

    /// The state, for a moment. A panic elsewhere leaves counters at worst, so poison is no reason to stop.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a submit, logs it, and pushes its receipt; the answer is due after the returned delay.
    pub fn submit(&self, request: &Params<'_>, arrival: Arrival) -> (Duration, Answer) {
        let now = unix_now();
        let mut state = self.state();
        let decision = state.decide(request, &self.options, now);
        state.record(request, arrival, &decision, now);
        let receipts = self.draw_receipts(&mut state, request, decision.accepted.as_ref());
        let latency = self.options.latency.draw(&mut state.rng);
        drop(state);
        self.push_receipts(receipts, now);
        self.logged.notify_waiters();
        (decision.delay + latency, decision.answer)
    }

    /// Answers a balance query after the returned delay.
    pub fn balance(&self, request: &Params<'_>) -> (Duration, Answer) {
        let mut state = self.state();
        state.stats.balance_queries += 1;
        let latency = self.options.latency.draw(&mut state.rng);
        let reply = match state.gateway.balance(request, unix_now()) {
            Ok(num) => Reply { code: ACCEPTED, msg: BALANCE_FOUND.into(), detail: Detail::Num(num) },
            Err(code) => Reply { code, msg: message(code).into(), detail: Detail::Num(0) },
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
        strikes
    }

    /// Waits until `count` submissions were read since the start.
    pub async fn wait_for(&self, count: u64) {
        loop {
            // Registered before looking, so that no submission falls in between.
            let mut logged = std::pin::pin!(self.logged.notified());
            logged.as_mut().enable();
            if self.state().stats.submissions >= count {
                return;
            }
            logged.await;
        }
    }

    /// Counts a new connection and numbers it.
    pub fn count_connection(&self) -> u64 {
        let mut state = self.state();
        state.stats.connections += 1;
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
        let one = |_| Receipt::draw(receipts, &mut state.rng, &accepted.smsid, &mobile);
        (0..count).map(one).collect()
    }

    fn push_receipts(&self, receipts: Vec<Receipt>, now: Duration) {
        let Some(pusher) = &self.receipts else { return };
        for receipt in receipts {
            let form = push::receipt_form(receipt.code, &receipt.mobile, &receipt.smsid, now + receipt.delay);
            pusher.push(receipt.delay, form);
        }
    }
}

/// A receipt to be pushed.
struct Receipt {
    delay: Duration,
    code: i64,
    mobile: String,
    smsid: String,
}

impl Receipt {
    fn draw(receipts: &Receipts, rng: &mut fastrand::Rng, smsid: &str, mobile: &str) -> Self {
        let undelivered = rng.f64() < receipts.undelivered;
        Self {
            delay: receipts.delay.draw(rng),
            code: if undelivered { receipts.undelivered_code } else { ACCEPTED },
            mobile: mobile.into(),
            smsid: smsid.into(),
        }
    }
}

impl State {
    /// A script comes before chance, chance before judgement.
    fn decide(&mut self, request: &Params<'_>, options: &Options, now: Duration) -> Decision {
        let scripted = match self.scripts.is_empty() {
            true => None,
            false => self.scripts.get_mut(&*request.mobile).and_then(VecDeque::pop_front),
        };
        if let Some(scripted) = scripted {
            return self.follow(scripted, request, now);
        }
        match options.faults.draw(&mut self.rng) {
            Some(fault) => self.strike(fault, request, now),
            None => self.judge(request, now),
        }
    }

    fn judge(&mut self, request: &Params<'_>, now: Duration) -> Decision {
        match self.gateway.submit(request, now) {
            Ok(accepted) => Decision::accepted(accepted, message(ACCEPTED).into()),
            Err(code) => Decision::refused(code, message(code).into()),
        }
    }

    fn follow(&mut self, scripted: Scripted, request: &Params<'_>, now: Duration) -> Decision {
        match scripted {
            Scripted::Normal => self.judge(request, now),
            Scripted::Code(ACCEPTED, msg) => {
                Decision::accepted(Accepted { smsid: self.gateway.next_smsid(now), parts: 0 }, msg)
            }
            Scripted::Code(code, msg) => Decision::refused(code, msg),
            Scripted::Raw { status, content_type, body } => {
                Decision::broken("raw", Answer::Raw { status, content_type, body })
            }
            Scripted::Hang => Decision::broken("hang", Answer::Hang),
            Scripted::ResetAfterRead => Decision::broken("reset", Answer::Reset),
            Scripted::CloseBeforeReply => Decision::broken("close", Answer::Close),
            Scripted::Delay(delay, then) => {
                let decision = self.follow(*then, request, now);
                Decision { delay: decision.delay + delay, ..decision }
            }
            Scripted::Judged(then) => {
                let judged = self.judge(request, now);
                let shown = self.follow(*then, request, now);
                Decision { code: judged.code, accepted: judged.accepted, ..shown }
            }
        }
    }

    fn strike(&mut self, fault: Fault, request: &Params<'_>, now: Duration) -> Decision {
        let page = |status, body: &str| Answer::Raw { status, content_type: "text/html".into(), body: body.into() };
        match fault {
            Fault::Code(code) => self.follow(Scripted::Code(code, message(code).into()), request, now),
            Fault::Http500 => Decision::broken("raw", page(500, "<h1>Internal Server Error</h1>")),
            Fault::Html => Decision::broken("raw", page(200, "<html><body>系统维护中</body></html>")),
            Fault::Garbage => Decision::broken("garbage", Answer::Garbage),
            Fault::Hang => self.judge(request, now).lost("hang", |_| Answer::Hang),
            Fault::Reset => self.judge(request, now).lost("reset", |_| Answer::Reset),
            Fault::Cut => self.judge(request, now).lost("cut", |answer| match answer {
                Answer::Reply(reply) => Answer::Cut(reply),
                other => other,
            }),
        }
    }

    fn record(&mut self, request: &Params<'_>, arrival: Arrival, decision: &Decision, now: Duration) {
        self.stats.submissions += 1;
        if let Some(code) = decision.code {
            *self.stats.codes.entry(code).or_default() += 1;
        }
        if let Some(fault) = decision.fault {
            *self.stats.faults.entry(fault).or_default() += 1;
        }
        self.stats.parts += decision.accepted.as_ref().map_or(0, |accepted| accepted.parts);
        if !self.log.is_on() {
            return;
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.log.push(Submission {
            seq: self.stats.submissions,
            at: now.as_secs_f64(),
            method: arrival.method,
            format: arrival.format,
            account: text(&request.account),
            mobile: text(&request.mobile),
            content: text(&request.content),
            templateid: text(&request.templateid),
            time: text(&request.time),
            code: decision.code,
            smsid: decision.accepted.as_ref().map_or_else(|| "0".into(), |accepted| accepted.smsid.clone()),
            fault: decision.fault,
            connection: arrival.connection,
        });
    }
}

impl Decision {
    fn accepted(accepted: Accepted, msg: String) -> Self {
        let reply = Reply { code: ACCEPTED, msg, detail: Detail::Smsid(accepted.smsid.clone()) };
        Self { accepted: Some(accepted), ..Self::answered(ACCEPTED, reply) }
    }

    fn refused(code: i64, msg: String) -> Self {
        Self::answered(code, Reply { code, msg, detail: Detail::Smsid("0".into()) })
    }

    fn answered(code: i64, reply: Reply) -> Self {
        Self { answer: Answer::Reply(reply), delay: Duration::ZERO, code: Some(code), accepted: None, fault: None }
    }

    /// Nothing was judged; the client gets `answer`.
    fn broken(fault: &'static str, answer: Answer) -> Self {
        Self { answer, delay: Duration::ZERO, code: None, accepted: None, fault: Some(fault) }
    }

    /// What was judged stands, but the client gets something else.
    fn lost(self, fault: &'static str, answer: impl FnOnce(Answer) -> Answer) -> Self {
        Self { answer: answer(self.answer), fault: Some(fault), ..self }
    }
}

/// Time since the Unix epoch.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
