//! What the API gives and takes, as JSON, and what a viewer may see of it. The types of bodies that come in
//! describe them; they are read field by field, so that an error can say what to mend.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoResponses, ToSchema};

use crate::domain::privacy::{Veil, length, masked};
use crate::web::problem::Problem;

/// What a job is and where it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobFacts {
    /// The publisher's idempotency key.
    pub id: String,
    /// The account that sends it.
    pub account: String,
    /// Eleven digits; for a viewer masked, `138****8000`.
    pub mobile: String,
    /// `high`, `normal` or `bulk`.
    pub priority: String,
    /// The text, for a viewer its length only; null in template mode.
    pub content: Option<String>,
    /// ihuyi's template.
    pub template_id: Option<String>,
    /// The template's values, for a viewer their lengths only.
    pub variables: Option<Vec<String>>,
    /// A word of `jobs.state`.
    pub state: String,
    /// While `waiting`: why.
    pub wait_reason: Option<String>,
    /// While `waiting`: until when; null where it waits for its account.
    pub due_at: Option<DateTime<Utc>>,
    /// Not submitted earlier.
    pub not_before: Option<DateTime<Utc>>,
    /// Not submitted later.
    pub expires_at: Option<DateTime<Utc>>,
    /// `hold` or `resend`.
    pub on_unknown: String,
    /// The gateway's last answer.
    pub code: Option<i64>,
    /// Its words, or why there was no answer.
    pub message: Option<String>,
    /// The gateway's id of the message.
    pub smsid: Option<String>,
    /// The publisher's own data.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Box<RawValue>>,
    /// When it was published, where the publisher said so.
    pub published_at: Option<DateTime<Utc>>,
    /// When it came in.
    pub created_at: DateTime<Utc>,
    /// The last change.
    pub updated_at: DateTime<Utc>,
}

/// A job in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job {
    /// The job.
    #[serde(flatten)]
    pub facts: JobFacts,
    /// Submissions that count.
    pub attempts: i32,
}

/// A job and all that happened to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WholeJob {
    /// The job.
    #[serde(flatten)]
    pub facts: JobFacts,
    /// Submissions that count.
    pub attempts_spent: i32,
    /// Every request to the gateway, in order.
    pub attempts: Vec<Attempt>,
    /// What ihuyi said of the delivery, in the order in which it came.
    pub receipts: Vec<Receipt>,
    /// What the person answered.
    pub replies: Vec<Reply>,
    /// The replays that chose it, in order.
    pub replays: Vec<JobReplay>,
    /// What happened to it, in order, in words.
    pub story: Vec<Told>,
    /// What comes next, by itself or by somebody's hand.
    pub next: Next,
}

/// Something that happened to a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Told {
    /// When; of a wait, when it began.
    pub at: DateTime<Utc>,
    /// `published`, `received`, `waited`, `request`, `receipt`, `reply`, `replay`, `operation` or `state`.
    pub event: &'static str,
    /// In words.
    pub text: String,
    /// The gateway's code.
    pub code: Option<i64>,
    /// What the code says.
    pub meaning: Option<InBoth>,
    /// What to do about it.
    pub cure: Option<InBoth>,
}

/// What comes next for a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Next {
    /// In words: what it waits for and why.
    pub text: String,
    /// When it goes on by itself, where that is known.
    pub until: Option<DateTime<Utc>>,
    /// How many jobs go before it, counted up to a million; null where it stands in no line.
    pub ahead: Option<i64>,
    /// What to do about the cause.
    pub cure: Option<InBoth>,
    /// What an operator can type.
    pub commands: Vec<String>,
}

/// Words in both languages.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InBoth {
    /// 中文
    pub zh: String,
    /// English.
    pub en: String,
}

/// A request to the gateway.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// Counts from 1, those that were not spent included.
    pub attempt: i32,
    /// The account that sent it.
    pub account: String,
    /// A word of `attempts.outcome`; null while on the wire.
    pub outcome: Option<String>,
    /// The gateway's answer.
    pub code: Option<i64>,
    /// Its words, or why there was no answer.
    pub message: Option<String>,
    /// The gateway's id of the message.
    pub smsid: Option<String>,
    /// Just before it left.
    pub started_at: DateTime<Utc>,
    /// When its outcome was known.
    pub finished_at: Option<DateTime<Utc>>,
}

/// A receipt of ihuyi.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// ihuyi's id of the message.
    pub smsid: String,
    /// As pushed; for a viewer masked.
    pub mobile: Option<String>,
    /// 2: delivered.
    pub code: Option<i64>,
    /// Its words.
    pub message: Option<String>,
    /// ihuyi's time of the report.
    pub reported_at: Option<DateTime<Utc>>,
    /// When it came in.
    pub received_at: DateTime<Utc>,
}

/// What a person answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reply {
    /// Who; for a viewer masked.
    pub mobile: String,
    /// The text, for a viewer its length only.
    pub content: String,
    /// ihuyi's id of the message, as pushed.
    pub smsid: Option<String>,
    /// When, as ihuyi says.
    pub replied_at: Option<DateTime<Utc>>,
    /// When it came in.
    pub received_at: DateTime<Utc>,
}

/// A replay that chose a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobReplay {
    /// The replay's number.
    pub replay: i64,
    /// `running`, `paused`, `done` or `cancelled`: the replay, as of now.
    pub state: String,
    /// Who began it.
    pub actor: String,
    /// `api` or `cli`.
    pub via: String,
    /// Why.
    pub reason: Option<String>,
    /// When it began, and chose the job.
    pub created_at: DateTime<Utc>,
    /// Where the job was then.
    pub from: String,
    /// `pending`, `sent`, `skipped` (gone elsewhere meanwhile), or the state that the job came to.
    pub result: String,
    /// When the job was sent again or skipped.
    pub at: Option<DateTime<Utc>>,
}

/// One page of a list, newest change first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// For the next page, as `cursor`; null on the last one.
    pub next_cursor: Option<String>,
}

/// An account at ihuyi.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Account {
    /// Its name in the configuration.
    pub name: String,
    /// `active` or `paused`.
    pub state: String,
    /// Why it is paused.
    pub reason: Option<String>,
    /// Since when.
    pub paused_at: Option<DateTime<Utc>>,
    /// `gateway` or `operator`: the latter's pause only an operator ends.
    pub paused_by: Option<String>,
    /// It stands in this daemon's configuration.
    pub configured: bool,
}

/// All accounts, by name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AccountList {
    /// The accounts.
    pub accounts: Vec<Account>,
}

/// What became of a pause or its end.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AccountChange {
    /// The account.
    pub name: String,
    /// `active` or `paused`: as it is now.
    pub state: &'static str,
    /// False where it was so already.
    pub changed: bool,
}

/// A number that wants no bulk messages.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Suppression {
    /// Eleven digits.
    pub mobile: String,
    /// The word that the person sent, or what an operator wrote.
    pub reason: String,
    /// `reply`, or the operator.
    pub added_by: String,
    /// Since when.
    pub added_at: DateTime<Utc>,
}

/// One page of the suppressed numbers, the one added last first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SuppressionPage {
    /// The numbers.
    pub suppressions: Vec<Suppression>,
    /// For the next page, as `cursor`; null on the last one.
    pub next_cursor: Option<String>,
}

/// Whom to suppress, or not any more.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressionOrder {
    /// The number, whole.
    #[schema(min_length = 11, max_length = 32, pattern = "^[-+ 0-9]*$", example = "13800138000")]
    pub mobile: String,
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SuppressionChange {
    /// The number, masked.
    pub mobile: String,
    /// As it is now.
    pub suppressed: bool,
    /// False where it was so already.
    pub changed: bool,
}

/// A refused message; the message itself is shown by `dispatcher rejections show`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rejection {
    /// Its number.
    pub id: i64,
    /// Why it was refused, a word.
    pub reason: String,
    /// The field, the problem and the cure; holds no text and no full number.
    pub detail: String,
    /// The length of its body.
    pub bytes: i32,
    /// When it came in.
    pub received_at: DateTime<Utc>,
    /// When somebody last published it again.
    pub retried_at: Option<DateTime<Utc>>,
}

/// One page of the refused messages, newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RejectionPage {
    /// The messages.
    pub rejections: Vec<Rejection>,
    /// For the next page, as `cursor`; null on the last one.
    pub next_cursor: Option<String>,
}

/// Refused messages that are to be published again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryOrder {
    /// Which; at least one condition.
    pub filter: RetryFilter,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// Also those that were published again before.
    pub again: Option<bool>,
    /// How fast, `N/s`, `N/m`, `N/h` or `N/d`; `100/s` where it is left out.
    #[schema(example = "10/s")]
    pub rate: Option<String>,
    /// So many go first; the others only once none of those was refused again.
    #[schema(maximum = 100000)]
    pub canary: Option<u32>,
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Which refused messages. All conditions must hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryFilter {
    /// Refused for this reason.
    pub reason: Option<String>,
    /// Received then or later.
    pub since: Option<DateTime<Utc>>,
    /// Received before.
    pub until: Option<DateTime<Utc>>,
    /// Of these numbers, up to 10,000.
    #[schema(min_items = 1, max_items = 10000)]
    pub id: Option<Vec<i64>>,
}

/// What a filter found, and what was published.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Retried {
    /// The replay that publishes them: look at it, pause, resume or cancel it; null after a dry run, or where nothing was
    /// found.
    pub replay: Option<i64>,
    /// Nothing was published.
    pub dry_run: bool,
    /// Messages that the filter found.
    pub matched: i64,
    /// Messages that were left out: they were published again before.
    pub already: i64,
    /// Messages that were published again so far; what is still no valid job is refused anew.
    pub published: i64,
    /// Messages that are still to be published, by the replay.
    pub left: i64,
    /// The earliest of those found.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// How many with each reason.
    pub by_reason: BTreeMap<String, i64>,
}

/// Another configuration is in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reloaded {
    /// The keys that changed, by their full paths; without any, nothing was disturbed.
    pub changed: Vec<String>,
}

/// Jobs that RabbitMQ has confirmed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Published {
    /// How many.
    pub published: usize,
    /// Their ids, in order.
    pub ids: Vec<String>,
}

/// Jobs that are to be withdrawn.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOrder {
    /// Which jobs; at least one condition.
    pub filter: JobsFilter,
    /// Only say how many.
    pub dry_run: Option<bool>,
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Doubts that are to be ended.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveOrder {
    /// Which jobs; at least one condition.
    pub filter: JobsFilter,
    /// ihuyi took the messages: the jobs are `accepted`. Otherwise they are sent again.
    pub sent: bool,
    /// Only say how many.
    pub dry_run: Option<bool>,
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Which jobs. All conditions must hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsFilter {
    /// In one of these states; where it is left out, in those for which the act makes sense.
    pub state: Option<Vec<String>>,
    /// With this last code of the gateway.
    pub code: Option<i64>,
    /// Of this account.
    pub account: Option<String>,
    /// To this number.
    pub mobile: Option<String>,
    /// Last changed then or later.
    pub since: Option<DateTime<Utc>>,
    /// Last changed before.
    pub until: Option<DateTime<Utc>>,
    /// Of these ids, up to 10,000.
    #[schema(max_items = 10000)]
    pub id: Option<Vec<String>>,
}

/// What a filter found, and what was done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ActedOn {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Jobs that the filter found.
    pub matched: i64,
    /// How many in each state.
    pub by_state: BTreeMap<String, i64>,
    /// Jobs that were changed; others had gone elsewhere meanwhile.
    pub changed: i64,
    /// Jobs that are left for the next request.
    pub left: i64,
}

/// A replay that was asked for, and what its filter found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReplayBegun {
    /// Its number; null after a dry run, or where nothing was found.
    pub id: Option<i64>,
    /// Nothing was begun.
    pub dry_run: bool,
    /// Jobs, or refused messages, that are, or would be, sent again.
    pub matched: i64,
    /// Jobs that are not: their `expires_at` has passed, and no `expires_in` is given.
    pub past_expiry: i64,
    /// Refused messages that are not: they were published again before.
    pub already: i64,
    /// What they cost, in parts of an SMS: by the signatures and templates of the present configuration. Of a template that
    /// is not configured only the variables are counted.
    pub parts: i64,
    /// The earliest last change of them.
    pub oldest: Option<DateTime<Utc>>,
    /// The latest.
    pub newest: Option<DateTime<Utc>>,
    /// How many with each last code; `none` without one.
    pub by_code: BTreeMap<String, i64>,
    /// How many of each account.
    pub by_account: BTreeMap<String, i64>,
    /// How many refused messages with each reason.
    pub by_reason: BTreeMap<String, i64>,
}

/// A replay and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Replay {
    /// Its number.
    pub id: i64,
    /// What is replayed: `jobs`, or `rejections`.
    pub subject: String,
    /// `running`, `paused`, `done` or `cancelled`.
    pub state: String,
    /// Why it is paused.
    pub note: Option<String>,
    /// `none`, `going`, `passed` or `failed`.
    pub canary_state: String,
    /// Who began it.
    pub actor: String,
    /// `api` or `cli`.
    pub via: String,
    /// Why.
    pub reason: Option<String>,
    /// What the jobs were chosen by; numbers masked.
    #[schema(value_type = Object)]
    pub filter: serde_json::Value,
    /// Jobs a second.
    pub rate: f64,
    /// So many went first.
    pub canary: i64,
    /// The jobs' new expiry, in seconds after they are sent again.
    pub expires_in_seconds: Option<f64>,
    /// How many jobs were chosen.
    pub matched: i64,
    /// How many of them are `pending`, `sent`, `skipped` (gone elsewhere meanwhile), or in the state they came to. Refused
    /// messages are `sending` while they are published, then `taken` (as a job that is new or was there already) or
    /// `refused` again, `failed` where RabbitMQ does not take them, or `gone` where they were pruned or erased.
    pub results: BTreeMap<String, i64>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// The last change.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One job, or one refused message, of a replay.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReplayedJob {
    /// 1 for the first that goes.
    pub position: i64,
    /// Its id; of a refused message the id that it has, once it was published again as a valid job.
    pub job: Option<String>,
    /// Of a refused message: the number of its rejection.
    pub rejection: Option<i64>,
    /// Where it was when it was chosen, or what it was refused for.
    pub from: String,
    /// One of the words that `results` of the replay counts.
    pub result: String,
    /// The gateway's last answer, as of now.
    pub code: Option<i64>,
    /// When it was sent again, or was found to be elsewhere.
    pub at: Option<DateTime<Utc>>,
}

/// One page of the replays, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReplayPage {
    /// The replays.
    pub replays: Vec<Replay>,
    /// For the next page, as `cursor`; null on the last one.
    pub next_cursor: Option<String>,
}

/// One page of a replay's jobs, in the order in which they go.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ReplayJobPage {
    /// The jobs.
    pub jobs: Vec<ReplayedJob>,
    /// For the next page, as `cursor`; null on the last one.
    pub next_cursor: Option<String>,
}

/// Failed jobs, or refused messages, that are to be sent again.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum ReplayOrder {
    /// Jobs.
    Jobs(JobReplayOrder),
    /// Refused messages.
    Rejections(RejectionReplayOrder),
}

/// Refused messages that are to be published again, as a replay.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectionReplayOrder {
    /// Which; at least one condition.
    pub rejections: RetryFilter,
    /// Also those that were published again before.
    pub again: Option<bool>,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// How fast, `N/s`, `N/m`, `N/h` or `N/d`; `100/s` where it is left out.
    #[schema(example = "10/s", pattern = "^[0-9]+/[smhd]$")]
    pub rate: Option<String>,
    /// So many go first; the others only once none of those was refused again.
    #[schema(maximum = 100000)]
    pub canary: Option<u32>,
    /// In your own words; kept with the replay and in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Failed jobs that are to be sent again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobReplayOrder {
    /// Which jobs; at least one condition.
    pub filter: ReplayFilter,
    /// Only say what would be done.
    pub dry_run: Option<bool>,
    /// How fast, `N/s`, `N/m`, `N/h` or `N/d`; `100/s` where it is left out.
    #[schema(example = "10/s", pattern = "^[0-9]+/[smhd]$")]
    pub rate: Option<String>,
    /// So many go first; the others only once all of those are accepted.
    #[schema(maximum = 100000)]
    pub canary: Option<u32>,
    /// The jobs' new expiry: so long after they are sent again.
    #[schema(example = "2h", pattern = "^[0-9]+(ms|s|m|h|d)$")]
    pub expires_in: Option<String>,
    /// In your own words; kept with the replay and in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// Which jobs are to be sent again. All conditions must hold.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// `failed` where it is left out. `in_doubt`, `expired` and `cancelled` jobs only where they are named.
    #[schema(min_items = 1)]
    pub state: Option<Vec<ReplayableWord>>,
    /// With this last code of the gateway.
    pub code: Option<i64>,
    /// Of this account.
    pub account: Option<String>,
    /// To this number.
    pub mobile: Option<String>,
    /// Last changed then or later.
    pub since: Option<DateTime<Utc>>,
    /// Last changed before.
    pub until: Option<DateTime<Utc>>,
    /// Of these ids, up to 10,000.
    #[schema(min_items = 1, max_items = 10000)]
    pub id: Option<Vec<String>>,
}

impl JobFacts {
    /// What a viewer may see.
    pub fn mask(&mut self) {
        let veil = Veil::over(&self.mobile);
        veil.words(&mut self.message);
        veil.json(&mut self.metadata);
        self.mobile = masked(&self.mobile);
        self.content = self.content.as_deref().map(length);
        self.variables = self.variables.as_ref().map(|values| values.iter().map(|value| length(value)).collect());
    }
}

/// Why something is done.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// What was found out about a doubt.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// Whether ihuyi took the message.
    pub sent: bool,
    /// ihuyi's id of the message, where it is known. Receipts find the job by it.
    #[schema(min_length = 1, max_length = 64)]
    pub smsid: Option<String>,
    /// In your own words; kept in `operations`.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

/// One job or several.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum PostedJobs {
    /// One.
    One(Box<PostedJob>),
    /// Up to 1,000.
    Many(Vec<PostedJob>),
}

/// A job message with an optional priority. A field that is null counts as absent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "id": "order-1", "mobile": "13800138000", "content": "您的订单已发货。", "priority": "high" }))]
pub struct PostedJob {
    /// Your idempotency key, printable ASCII: one id is sent once.
    #[schema(min_length = 1, max_length = 128, pattern = "^[ -~]*$")]
    pub id: String,
    /// A mainland number; `+86`, `0086`, `86`, blanks and dashes are taken away.
    #[schema(example = "13800138000", min_length = 11, pattern = "^[-+ 0-9]*$")]
    pub mobile: String,
    /// The text, without the signature; this, or the next two. At most `gateway.content_max` characters.
    #[schema(min_length = 1, max_length = 1000, pattern = r"^[^\u0000]*$")]
    pub content: Option<String>,
    /// ihuyi's template.
    #[schema(min_length = 1, max_length = 64, pattern = "^[ -~]*$")]
    pub template_id: Option<String>,
    /// The template's values, none with `|` in it.
    #[schema(min_items = 1)]
    pub variables: Option<Vec<String>>,
    /// A configured account.
    pub account: Option<String>,
    /// Not submitted earlier.
    pub not_before: Option<DateTime<Utc>>,
    /// Not submitted later.
    pub expires_at: Option<DateTime<Utc>>,
    /// What to do when nobody can know whether ihuyi took it.
    pub on_unknown: Option<OnUnknownWord>,
    /// Your own data, at most 4 KiB.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<String>,
    /// Its queue; `normal` where it is left out.
    pub priority: Option<PriorityWord>,
}

/// The words of `on_unknown`.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum OnUnknownWord {
    /// It stays in doubt.
    Hold,
    /// It is sent again.
    Resend,
}

/// The words of `priority`.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum PriorityWord {
    /// Ahead of the others.
    High,
    /// In between.
    Normal,
    /// Behind the others.
    Bulk,
}

/// The states of jobs that can be sent again.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ReplayableWord {
    /// Refused for good, or its attempts are used up.
    Failed,
    /// Nobody knows whether ihuyi took it.
    InDoubt,
    /// Its time came first.
    Expired,
    /// Withdrawn by an operator.
    Cancelled,
}

/// What any question may be answered with instead.
#[derive(IntoResponses)]
pub enum Looking {
    /// No token, or a wrong one.
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken(Problem),
    /// Postgres does not answer.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What any act may be answered with instead.
#[derive(IntoResponses)]
pub enum Acting {
    /// The body is no JSON.
    #[response(status = 400, content_type = "application/problem+json")]
    NoJson(Problem),
    /// No token, or a wrong one.
    #[response(status = 401, content_type = "application/problem+json")]
    NoToken(Problem),
    /// The token only looks.
    #[response(status = 403, content_type = "application/problem+json")]
    Viewer(Problem),
    /// The body did not come in in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Problem),
    /// The body has more than 8 MiB.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLong(Problem),
    /// The body is not marked as JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotMarked(Problem),
    /// A value makes no sense. Nothing was done.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// Postgres or RabbitMQ does not answer.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
