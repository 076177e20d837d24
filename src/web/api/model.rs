//! What the API gives and takes, as JSON, and what a viewer may see of it. The types of bodies that come in
//! describe them; they are read field by field, so that an error can say what to mend.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{IntoResponses, ToSchema};

use crate::domain::mobile::Mobile;
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

/// Jobs that RabbitMQ has confirmed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Published {
    /// How many.
    pub published: usize,
    /// Their ids, in order.
    pub ids: Vec<String>,
}

impl JobFacts {
    /// What a viewer may see.
    pub fn mask(&mut self) {
        self.mobile = masked(&self.mobile);
        self.content = self.content.as_deref().map(length);
        self.variables = self.variables.as_ref().map(|values| values.iter().map(|value| length(value)).collect());
    }
}

impl WholeJob {
    /// What a viewer may see.
    pub fn mask(&mut self) {
        self.facts.mask();
        for receipt in &mut self.receipts {
            receipt.mobile = receipt.mobile.as_deref().map(masked);
        }
        for reply in &mut self.replies {
            reply.mobile = masked(&reply.mobile);
            reply.content = length(&reply.content);
        }
    }
}

/// What is no mainland number is hidden whole.
fn masked(mobile: &str) -> String {
    Mobile::parse(mobile).map_or_else(|_| "****".into(), |mobile| mobile.to_string())
}

fn length(text: &str) -> String {
    format!("[{} characters]", text.chars().count())
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
pub struct PostedJob {
    /// Your idempotency key, printable ASCII: one id is sent once.
    #[schema(min_length = 1, max_length = 128)]
    pub id: String,
    /// A mainland number.
    #[schema(example = "13800138000")]
    pub mobile: String,
    /// The text, without the signature; this, or the next two.
    pub content: Option<String>,
    /// ihuyi's template.
    pub template_id: Option<String>,
    /// The template's values, none with `|` in it.
    pub variables: Option<Vec<String>>,
    /// A configured account.
    pub account: Option<String>,
    /// Not submitted earlier.
    pub not_before: Option<DateTime<Utc>>,
    /// Not submitted later.
    pub expires_at: Option<DateTime<Utc>>,
    /// `hold` or `resend`.
    pub on_unknown: Option<String>,
    /// Your own data, at most 4 KiB.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<String>,
    /// `high`, `normal` or `bulk`.
    pub priority: Option<String>,
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
    /// The body is too long.
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
