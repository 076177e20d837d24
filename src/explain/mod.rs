//! A job's story: what happened in order, why it waits, and what somebody can do. Pure: from rows of
//! Postgres to words, so that the command line and the API say the same.

mod event;
mod next;

use serde::Serialize;

pub use event::{Event, What};
pub use next::Next;

use crate::domain::codes::Words;
use crate::domain::job::Timestamp;
use crate::store::query::Dossier;

/// What the rows do not say.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// `retry.max_attempts`.
    pub max_attempts: u32,
    /// What the job's account may send in a second; `None` where it is not configured here: then a job waits in vain.
    pub rate: Option<f64>,
    /// How times are written in texts.
    pub show: fn(Timestamp) -> String,
}

/// A story.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// What happened, in order.
    #[serde(rename = "story")]
    pub events: Vec<Event>,
    /// What comes next, by itself or by somebody's hand.
    pub next: Next,
}

/// The story of a job. Masks nothing: what must not be told must not be in `dossier`.
pub fn story(dossier: &Dossier, manner: &Manner) -> Story {
    Story { events: event::events(dossier), next: next::next(dossier, manner) }
}

/// The meaning of a code, for texts: `code 4080 同一手机号码… (the same number …)`.
fn code_in_words(code: i64) -> String {
    match crate::domain::codes::meaning(code) {
        Some((chinese, english)) => format!("code {code} {chinese} ({english})"),
        None => format!("code {code}"),
    }
}

/// What somebody can do about a code, with the account's name in it.
fn cure(code: Option<i64>, account: &str) -> Option<Cure> {
    let Words { zh, en } = crate::domain::codes::cure(code?)?;
    let named = |text: &str| text.replace("NAME", account);
    Some(Cure { zh: named(zh), en: named(en) })
}

/// What somebody can do about a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cure {
    /// 中文
    pub zh: String,
    /// English.
    pub en: String,
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::job as a_job;
