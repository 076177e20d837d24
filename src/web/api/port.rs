//! What the API asks of the daemon.

use std::sync::Arc;

use std::time::Duration;

use crate::dispatch::ports::Boxed;
use crate::domain::job::{Job, State, Timestamp};
use crate::domain::message::{RejectReason, Rules};
use crate::domain::mobile::Mobile;
use crate::domain::rate::Rate;

use super::model;

/// Which jobs. What is `None` or empty filters nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these ids.
    pub ids: Vec<String>,
    /// In any of these states.
    pub states: Vec<State>,
    /// The gateway's last answer.
    pub code: Option<i64>,
    /// The account that sends it.
    pub account: Option<String>,
    /// To whom.
    pub mobile: Option<Mobile>,
    /// Last changed then or later.
    pub since: Option<Timestamp>,
    /// Last changed before.
    pub until: Option<Timestamp>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct PageOf {
    /// Which jobs.
    pub filter: Filter,
    /// How many: 1 to 1,000.
    pub limit: u32,
    /// Behind the page that gave this.
    pub cursor: Option<String>,
}

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Act {
    /// The token's name.
    pub actor: String,
    /// In the person's own words.
    pub reason: Option<String>,
}

/// What is to become of many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// Those that have not been sent are withdrawn.
    Cancel,
    /// Those in doubt were sent.
    Sent,
    /// Those in doubt were not.
    NotSent,
}

/// Jobs that are to be acted on.
#[derive(Clone, Debug)]
pub struct ManyAsked {
    /// What.
    pub what: Many,
    /// Which jobs. At least one condition.
    pub filter: Filter,
    /// Only say how many.
    pub dry_run: bool,
}

/// Failed jobs that are to be sent again.
#[derive(Clone, Debug)]
pub struct ReplayAsked {
    /// Which jobs. At least one condition; states that may be replayed.
    pub filter: Filter,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How fast.
    pub rate: Rate,
    /// So many go first; the others only once all of those are accepted.
    pub canary: u32,
    /// The new expiry of each job: so long after it is sent again.
    pub expires_in: Option<Duration>,
}

/// One page of a replay's jobs.
#[derive(Clone, Debug)]
pub struct ReplayPage {
    /// Those alone that came to it: a word of `replay_jobs.result`.
    pub result: Option<String>,
    /// How many: 1 to 1,000.
    pub limit: u32,
    /// Behind this position.
    pub after: i64,
}

/// Refused messages that are to be listed or published again. What is `None` or empty filters nothing.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// Of these numbers.
    pub ids: Vec<i64>,
    /// Refused for this reason.
    pub reason: Option<RejectReason>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Received before.
    pub until: Option<Timestamp>,
}

/// One page of the refused messages.
#[derive(Clone, Debug)]
pub struct RefusedPage {
    /// Which.
    pub filter: Refused,
    /// How many: 1 to 1,000.
    pub limit: u32,
    /// Behind the page that gave this.
    pub cursor: Option<String>,
}

/// Refused messages that are to be published again.
#[derive(Clone, Debug)]
pub struct RetryAsked {
    /// Which; at least one condition.
    pub filter: Refused,
    /// Also those that were published again before.
    pub again: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// How fast.
    pub rate: Rate,
    /// So many go first; the others only once none of those was refused again.
    pub canary: u32,
}

/// What is to become of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// No more of its jobs go for now.
    Pause,
    /// They go on; also past a canary that failed.
    Resume,
    /// No more of its jobs go, ever.
    Cancel,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Postgres or RabbitMQ cannot do it now: 503. The words are for the client.
    Unavailable(String),
    /// There is no such thing: 404.
    Missing(String),
    /// Its state forbids it: 409.
    Conflict(String),
    /// A parameter cannot be read: 400.
    Unreadable(String),
    /// A value makes no sense: 422.
    Invalid(String),
    /// The new configuration cannot be taken up, for these reasons: 422.
    Refused(Vec<String>),
}

/// An answer of the daemon.
pub type Answer<'a, T> = Boxed<'a, Result<T, Trouble>>;

/// The daemon. A call that was begun is finished, also when the client has gone meanwhile.
pub trait Backend: Send + Sync {
    /// What messages are judged by.
    fn rules(&self) -> Arc<Rules>;
    /// Publishes jobs in order; returns once RabbitMQ has confirmed all of them.
    fn publish(&self, jobs: Vec<Job>) -> Answer<'_, ()>;
    /// One page of jobs, the one that changed last first; numbers and texts whole.
    fn jobs(&self, page: PageOf) -> Answer<'_, model::JobPage>;
    /// A job and all that belongs to it; unless `full` with number and texts masked.
    fn job(&self, id: String, full: bool) -> Answer<'_, model::WholeJob>;
    /// Notes that somebody looked for a number, and how many jobs were shown.
    fn note_search(&self, act: Act, mobile: Mobile, found: usize) -> Answer<'_, ()>;
    /// Withdraws a job that has not been sent.
    fn cancel(&self, act: Act, id: String) -> Answer<'_, ()>;
    /// Ends a doubt: `sent` with ihuyi's id of the message, where it is known, or not sent.
    fn resolve(&self, act: Act, id: String, sent: bool, smsid: Option<String>) -> Answer<'_, ()>;
    /// Acts on the jobs that a filter chooses, 10,000 at most, or says how many they are.
    fn act_on_many(&self, act: Act, asked: ManyAsked) -> Answer<'_, model::ActedOn>;
    /// Begins a replay, or says what it would do.
    fn begin_replay(&self, act: Act, asked: ReplayAsked) -> Answer<'_, model::ReplayBegun>;
    /// One page of the replays, the newest first; `cursor` is the number that it goes on behind.
    fn replays(&self, limit: u32, cursor: Option<i64>) -> Answer<'_, model::ReplayPage>;
    /// A replay and how far it is.
    fn replay(&self, id: i64) -> Answer<'_, model::Replay>;
    /// One page of a replay's jobs, in order.
    fn replay_jobs(&self, id: i64, page: ReplayPage) -> Answer<'_, model::ReplayJobPage>;
    /// Pauses a replay, lets it go on, or ends it.
    fn steer_replay(&self, act: Act, id: i64, steer: Steer) -> Answer<'_, ()>;
    /// One page of the refused messages, newest first; without the messages themselves.
    fn rejections(&self, page: RefusedPage) -> Answer<'_, model::RejectionPage>;
    /// Begins to publish refused messages again, as a replay, or says what it would do.
    fn retry(&self, act: Act, asked: RetryAsked) -> Answer<'_, model::Retried>;
    /// A page of the numbers that want no bulk messages.
    fn suppressions(&self, limit: u32, cursor: Option<String>) -> Answer<'_, model::SuppressionPage>;
    /// Puts a number on that list, or takes it off. False where it was so already.
    fn set_suppressed(&self, act: Act, mobile: Mobile, suppressed: bool) -> Answer<'_, bool>;
    /// All accounts, by name.
    fn accounts(&self) -> Answer<'_, model::AccountList>;
    /// Pauses an account, or ends its pause. False if it was so already.
    fn set_paused(&self, act: Act, account: String, paused: bool) -> Answer<'_, bool>;
    /// Reads the configuration again and takes it up. The keys that changed.
    fn reload(&self, act: Act) -> Answer<'_, Vec<String>>;
}
