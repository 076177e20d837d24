//! What requests change, and the decision on one submit: by script, by chance, or by judgement.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::codes::{ACCEPTED, message};
use super::gateway::{Accepted, Gateway};
use super::log::{Log, Stats, Submission};
use super::options::{Faults, Options};
use super::params::Params;
use super::reply::{Detail, Reply};
use super::script::{Answer, Fault, Scripted};

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
    /// All chance comes from here.
    pub rng: fastrand::Rng,
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
#[derive(Debug)]
pub struct Decision {
    /// What the client gets.
    pub answer: Answer,
    /// Beyond the usual latency.
    pub delay: Duration,
    /// What was judged or scripted.
    pub code: Option<i64>,
    /// The message, where it was taken.
    pub accepted: Option<Accepted>,
    /// What the client gets instead of a reply.
    pub fault: Option<&'static str>,
}

impl State {
    /// The state of a gateway that was just started.
    pub fn new(options: &Options) -> Self {
        // Serials start anywhere, so that a simulator restarted within a second repeats none.
        let serial = fastrand::u64(..10_000_000_000);
        let (accounts, rules) = (options.accounts.clone(), options.rules.clone());
        Self {
            gateway: Gateway::new(accounts, rules, options.window, serial),
            scripts: HashMap::new(),
            log: Log::new(options.log),
            stats: Stats::default(),
            rng: options.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
        }
    }

    /// A script comes before chance, chance before judgement.
    pub fn decide(&mut self, request: &Params<'_>, faults: &Faults, now: Duration) -> Decision {
        let script = self.scripts.get_mut(&*request.mobile);
        if let Some(scripted) = script.and_then(VecDeque::pop_front) {
            return self.follow(scripted, request, now);
        }
        match faults.draw(&mut self.rng) {
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

    /// Counts and logs a submit.
    pub fn record(&mut self, request: &Params<'_>, arrival: Arrival, decision: &Decision, now: Duration) {
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
