//! The gateway in memory. Its log is the truth: what it took, and what it answered.

use std::sync::Mutex;
use std::time::Duration;

use dispatcher::dispatch::ports::{Balance, Boxed, Gateway, Submitted};
use dispatcher::domain::job::{Outcome, Payload, State, Timestamp};
use dispatcher::domain::mobile::Mobile;
use dispatcher::domain::verdict::{Answer, Reply};
use tokio::time::Instant;

use crate::jobs::id_of_text;
use crate::process::Link;
use crate::world::World;

/// The client gives up after this long (`gateway.timeout`).
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The job, and what was said.
    pub job: String,
    pub text: String,
    pub mobile: Mobile,
    /// Which of the job's attempts, by Postgres.
    pub request: u32,
    pub process: u32,
    /// The consuming session whose limiters it passed, where that is certain.
    pub era: Option<u64>,
    pub at: Duration,
    pub wall: Timestamp,
    /// The smsid, if the gateway took the message.
    pub taken: Option<String>,
    /// What the process was told, if it lived so long.
    pub heard: Option<Reply>,
}

/// The gateway's log.
#[derive(Default)]
pub struct Ihuyi(Mutex<Vec<Call>>);

impl Ihuyi {
    /// All requests, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    fn edit(&self, call: usize, change: impl FnOnce(&mut Call)) {
        change(&mut self.0.lock().unwrap()[call]);
    }
}

/// How one request goes.
#[derive(Debug)]
enum Fate {
    NotSent,
    /// The gateway sees it after `there`, the process hears of it after `back`.
    Judged {
        code: i64,
        smsid: bool,
        there: Duration,
        back: Duration,
        lost: bool,
    },
}

impl Fate {
    fn draw(world: &World, account: usize, text: &str) -> Fate {
        let weather = world.weather().clone();
        let now = Instant::now();
        let faults = weather.gateway;
        if weather.gateway_down.is_some_and(|until| now < until) || world.chance(faults.not_sent) {
            return Fate::NotSent;
        }
        let broke = weather.account_down.is_some_and(|(broke, until)| broke == account && now < until);
        let code = match () {
            () if broke => 4051,
            () if text.contains("refused") => 4072,
            () if world.chance(faults.retry) => [0, 4080][world.rng().usize(..2)],
            () if world.chance(faults.resign) => 40501,
            () if world.chance(faults.tomorrow) => 4082,
            () => 2,
        };
        let slow = world.chance(faults.slow);
        let time = |world: &World| world.delay(if slow { TIMEOUT } else { Duration::from_millis(60) });
        let (there, back) = (time(world), time(world));
        Fate::Judged {
            code,
            smsid: !world.chance(faults.no_smsid),
            there,
            back,
            lost: world.chance(faults.answer_lost),
        }
    }
}

/// The gateway, for one process.
pub struct Client(pub Link);

impl Client {
    async fn send(&self, account: usize, mobile: Mobile, payload: &Payload, now: Timestamp) -> Reply {
        let (link, world) = (&self.0, &self.0.world);
        link.step().await;
        let text = payload.content();
        let fate = Fate::draw(world, account, &text);
        world.note(|| format!("process {} submits {text}: {fate:?}", link.process.index()));
        let Fate::Judged { code, smsid, there, back, lost } = fate else {
            link.travel(world.delay(Duration::from_millis(100))).await;
            link.step().await;
            return Reply::NotSent("connection refused".into());
        };
        let call = self.log(mobile, &text, now);
        link.travel(there).await;
        // Whether the process lives or not, the request is there; the gateway judges it.
        let taken = (code == 2).then(|| format!("{:010}{call:010}", world.now().timestamp()));
        world.ihuyi.edit(call, |call| call.taken = taken.clone());
        taken.iter().for_each(|smsid| world.post_about(smsid, mobile));
        link.step().await;
        link.travel(back.min(TIMEOUT.saturating_sub(there))).await;
        link.step().await;
        let reply = if lost || there + back > TIMEOUT {
            Reply::Unknown("no answer".into())
        } else {
            Reply::Answer(Answer { code, message: String::new(), smsid: taken.filter(|_| smsid) })
        };
        world.ihuyi.edit(call, |call| call.heard = Some(reply.clone()));
        reply
    }

    /// Enters the request in the log. It must have been announced to Postgres.
    fn log(&self, mobile: Mobile, text: &str, wall: Timestamp) -> usize {
        let (world, process) = (&self.0.world, self.0.process.index());
        let job = id_of_text(text).to_owned();
        let tables = world.tables();
        let request = tables.jobs.get(&job).map_or(0, |row| row.requests);
        let attempt = tables.attempts.get(&(job.clone(), request));
        let claimed = tables.jobs.get(&job).is_some_and(|row| row.state == State::Submitting)
            && attempt.is_some_and(|attempt| attempt.owner == process && attempt.outcome.is_none());
        drop(tables);
        if !claimed {
            world.violation(format!("{job} was submitted by process {process} without a claim of its own"));
        }
        let era = world.broker.era(&self.0.process);
        let mut calls = world.ihuyi.0.lock().unwrap();
        if claimed && calls.iter().any(|call| call.job == job && call.request == request) {
            world.violation(format!("{job} was submitted twice under one claim"));
        }
        let (text, at) = (text.to_owned(), world.age());
        calls.push(Call { job, text, mobile, request, process, era, at, wall, taken: None, heard: None });
        calls.len() - 1
    }
}

impl Gateway for Client {
    fn submit<'a>(
        &'a self,
        account: usize,
        mobile: Mobile,
        payload: &'a Payload,
        now: Timestamp,
    ) -> Boxed<'a, Submitted> {
        Box::pin(async move {
            let reply = self.send(account, mobile, payload, now).await;
            // The dispatcher takes the instant of the call.
            Submitted { reply, left_at: None }
        })
    }

    fn balance(&self, account: usize, _: Timestamp) -> Boxed<'_, Balance> {
        Box::pin(async move {
            self.0.step().await;
            self.0.travel(self.0.world.delay(Duration::from_millis(60))).await;
            self.0.step().await;
            let weather = self.0.world.weather();
            if weather.gateway_down.is_some_and(|until| Instant::now() < until) {
                return Balance::Unreachable("connection refused".into());
            }
            let broke = weather.account_down.is_some_and(|(broke, until)| broke == account && Instant::now() < until);
            Balance::Left(if broke { 0 } else { 1_000 })
        })
    }
}

impl Call {
    /// What the answer means, where there was one.
    pub fn heard_acceptance(&self) -> bool {
        matches!(&self.heard, Some(Reply::Answer(answer)) if answer.code == 2 && answer.smsid.is_some())
    }

    /// The process knows that it does not know.
    pub fn heard_nothing(&self) -> bool {
        match &self.heard {
            Some(Reply::Answer(answer)) => answer.code == 2 && answer.smsid.is_none(),
            Some(Reply::Unknown(_)) => true,
            Some(Reply::NotSent(_)) | None => false,
        }
    }
}

/// The default code table, for the codes that this gateway knows.
pub fn class(code: i64) -> Outcome {
    match code {
        2 => Outcome::Accepted,
        4072 => Outcome::Permanent,
        4051 => Outcome::Account,
        40501 => Outcome::Resign,
        4082 => Outcome::Tomorrow,
        _ => Outcome::Retry,
    }
}
