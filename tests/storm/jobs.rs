//! What is published: an ordinary day's jobs, with the awkward ones among them.

use chrono::{DateTime, Duration, Utc};
use serde_json::json;

use super::publisher::Message;

/// A job, as its publisher knows it.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    pub mobile: String,
    pub priority: &'static str,
    pub account: &'static str,
    /// Two are better than none.
    pub resend: bool,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Draws `count` jobs: three priorities, two accounts, a tenth for `crowded` numbers, a fifth to be
/// resent when in doubt, one in fifty with an expiry that may come first.
pub fn draw(rng: &mut fastrand::Rng, count: usize, crowded: usize) -> Vec<Job> {
    (0..count).map(|index| one(rng, index, crowded)).collect()
}

fn one(rng: &mut fastrand::Rng, index: usize, crowded: usize) -> Job {
    let number = if rng.u8(..10) == 0 { rng.usize(..crowded) } else { crowded + index };
    let expires = (rng.u8(..50) == 0).then(|| Duration::seconds(rng.i64(20..200)));
    Job {
        id: format!("storm-{index:06}"),
        mobile: format!("139{number:08}"),
        priority: ["high", "normal", "normal", "bulk"][rng.usize(..4)],
        account: ["main", "other"][rng.usize(..2)],
        resend: rng.u8(..5) == 0,
        expires_at: expires.map(|after| Utc::now() + after),
    }
}

impl Job {
    /// Its text, by which the gateway's log tells whose submission it was.
    pub fn text(id: &str) -> String {
        format!("您的订单【{id}】已发货，请留意查收。")
    }

    /// The id in a text.
    pub fn id_of(text: &str) -> Option<&str> {
        text.split_once('【')?.1.split_once('】').map(|(id, _)| id)
    }

    /// Its message.
    pub fn message(&self) -> Message {
        let body = json!({
            "id": self.id,
            "mobile": self.mobile,
            "content": Job::text(&self.id),
            "account": self.account,
            "on_unknown": if self.resend { "resend" } else { "hold" },
            "expires_at": self.expires_at,
        });
        Message::new(self.priority, &self.mobile, body.to_string())
    }
}
