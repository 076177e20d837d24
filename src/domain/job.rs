//! A job and its states: the nouns that every other file uses.

use chrono::{DateTime, Utc};

use super::mobile::Mobile;

/// A wall-clock instant, always UTC inside.
pub type Timestamp = DateTime<Utc>;

/// Defines a closed enum whose words are at once column value, metric label, log field and
/// console word: one list, so they cannot drift apart.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The word for it, everywhere.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The value of that word.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words! {
    /// Which of an account's jobs go first. Each has its own queue.
    Priority {
        /// Never waits behind the others.
        High = "high",
        /// The default.
        Normal = "normal",
        /// Campaigns and the like; still gets at least one token in ten.
        Bulk = "bulk",
    }
}

impl Priority {
    /// 0 for high, 2 for bulk: the index of its queue.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The priority that a routing key `<priority>.<mobile>` names; any other key is `normal`.
    pub fn of_routing_key(key: &str) -> Priority {
        key.split('.').next().and_then(Priority::parse).unwrap_or(Priority::Normal)
    }
}

words! {
    /// Where a job is (`jobs.state`). The legal moves are drawn in the crate's front page.
    State {
        /// Postgres holds it until `due_at`.
        Waiting = "waiting",
        /// Released to RabbitMQ, due.
        Queued = "queued",
        /// An attempt is committed; the request may be on the wire.
        Submitting = "submitting",
        /// It cannot be known whether ihuyi took it.
        InDoubt = "in_doubt",
        /// ihuyi took it.
        Accepted = "accepted",
        /// By ihuyi's receipt.
        Delivered = "delivered",
        /// By ihuyi's receipt.
        Undelivered = "undelivered",
        /// A permanent code, or the attempts are used up.
        Failed = "failed",
        /// Its `expires_at` came before it was sent.
        Expired = "expired",
        /// Withdrawn before it was sent.
        Cancelled = "cancelled",
    }
}

impl State {
    /// True when the dispatcher has nothing more to do for the job: such rows age out by
    /// `retention.jobs`. A doubt is not settled.
    pub fn is_settled(self) -> bool {
        match self {
            State::Waiting | State::Queued | State::Submitting | State::InDoubt => false,
            State::Accepted | State::Delivered | State::Undelivered => true,
            State::Failed | State::Expired | State::Cancelled => true,
        }
    }
}

words! {
    /// Why a job waits (`jobs.wait_reason`).
    WaitReason {
        /// Its `not_before` has not come.
        Scheduled = "scheduled",
        /// A retry's backoff.
        Retry = "retry",
        /// Its turn at a limiter is more than two seconds away.
        RateLimited = "rate_limited",
        /// Its account is paused.
        AccountPaused = "account_paused",
        /// Quiet hours.
        QuietHours = "quiet_hours",
        /// The number's daily limit.
        NumberLimit = "number_limit",
        /// An operator replays it.
        Replay = "replay",
    }
}

words! {
    /// What to do when it cannot be known whether ihuyi took the message.
    OnUnknown {
        /// Say so: `in_doubt`, until a receipt or an operator knows.
        Hold = "hold",
        /// Send again, at the risk of a second SMS.
        Resend = "resend",
    }
}

words! {
    /// How one request ended (`attempts.outcome`).
    Outcome {
        /// Code 2 and an smsid.
        Accepted = "accepted",
        /// Try again later.
        Retry = "retry",
        /// The dynamic password had expired.
        Resign = "resign",
        /// Never.
        Permanent = "permanent",
        /// After midnight.
        Tomorrow = "tomorrow",
        /// The account cannot send.
        Account = "account",
        /// The request certainly did not leave.
        NotSent = "not_sent",
        /// It cannot be known.
        Unknown = "unknown",
    }
}

/// What is to be said: a full text, or a template with its variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The text without the 【signature】.
    Text(String),
    /// ihuyi fills `variables` into the approved template.
    Template {
        /// ihuyi's template id.
        id: String,
        /// One value for each 【变量】, none with `|` in it.
        variables: Vec<String>,
    },
}

impl Payload {
    /// The `content` parameter of Submit: the text, or `v1|v2|…`.
    pub fn content(&self) -> String {
        match self {
            Payload::Text(text) => text.clone(),
            Payload::Template { variables, .. } => variables.join("|"),
        }
    }

    /// The `templateid` parameter, in template mode.
    pub fn template_id(&self) -> Option<&str> {
        match self {
            Payload::Text(_) => None,
            Payload::Template { id, .. } => Some(id),
        }
    }
}

/// A valid job, as the publisher asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The publisher's idempotency key.
    pub id: String,
    /// To whom.
    pub mobile: Mobile,
    /// What.
    pub payload: Payload,
    /// The account that it was published for: the one whose digest a repeat must match.
    pub account: String,
    /// Its queue.
    pub priority: Priority,
    /// Not submitted earlier.
    pub not_before: Option<Timestamp>,
    /// Not submitted later.
    pub expires_at: Option<Timestamp>,
    /// Hold or resend an unknown outcome.
    pub on_unknown: OnUnknown,
    /// The publisher's own data: stored, echoed in events. A JSON object as text.
    pub metadata: Option<String>,
    /// When it was published, where the publisher says so: starts the latency clock.
    pub published_at: Option<Timestamp>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Job {
    /// True from `expires_at` on.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What makes two messages with the same id "the same job": mobile, content, template,
    /// variables and account. 16 bytes of MD5 over length-prefixed fields; it guards against
    /// mistakes, not against forgers.
    pub fn digest(&self) -> [u8; 16] {
        use md5::{Digest, Md5};
        let mut hash = Md5::new();
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        field(&self.mobile.digits());
        field(&self.account);
        match &self.payload {
            Payload::Text(text) => field(text),
            Payload::Template { id, variables } => {
                field("template");
                field(id);
                variables.iter().for_each(|v| field(v));
            }
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routing_key_names_the_priority() {
        assert_eq!(Priority::of_routing_key("high.13800138000"), Priority::High);
        assert_eq!(Priority::of_routing_key("bulk"), Priority::Bulk);
        for odd in ["", "urgent.1", "HIGH.1", ".", "highest.138"] {
            assert_eq!(Priority::of_routing_key(odd), Priority::Normal, "{odd}");
        }
    }

    #[test]
    fn the_digest_tells_fields_apart() {
        let job = |payload| Job {
            id: "a".into(),
            mobile: Mobile::parse("13800138000").unwrap(),
            payload,
            account: "main".into(),
            priority: Priority::Normal,
            not_before: None,
            expires_at: None,
            on_unknown: OnUnknown::Hold,
            metadata: None,
            published_at: None,
            traceparent: None,
        };
        let template = |id: &str, v: &[&str]| {
            job(Payload::Template { id: id.into(), variables: v.iter().map(|s| s.to_string()).collect() })
        };
        assert_eq!(job(Payload::Text("x".into())).digest(), job(Payload::Text("x".into())).digest());
        assert_ne!(template("1", &["ab", "c"]).digest(), template("1", &["a", "bc"]).digest());
        assert_ne!(template("1", &["a"]).digest(), template("1a", &[]).digest());
        let mut other = job(Payload::Text("x".into()));
        other.account = "backup".into();
        assert_ne!(other.digest(), job(Payload::Text("x".into())).digest());
        other.account = "main".into();
        other.priority = Priority::High;
        assert_eq!(other.digest(), job(Payload::Text("x".into())).digest(), "priority is no part of the payload");
    }
}
