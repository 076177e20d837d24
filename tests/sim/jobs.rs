//! What publishers send: distinct numbers and hot ones, deadlines, repeats, and nonsense.

use std::time::Duration;

use dispatcher::domain::job::{Job, OnUnknown, Payload, Priority, Timestamp};
use dispatcher::domain::message::{self, Properties};
use dispatcher::domain::mobile::Mobile;

use crate::broker::Message;

/// A message and when it is published.
#[derive(Clone, Debug)]
pub struct Letter {
    pub at: Duration,
    pub content: Content,
    /// The publisher saw no confirm, and published it again.
    pub twice: bool,
}

/// What is in it.
#[derive(Clone, Debug)]
pub enum Content {
    Job(Job),
    /// No valid job.
    Nonsense(Vec<u8>),
}

impl Letter {
    /// As it lies in a queue.
    pub fn message(&self) -> Message {
        match &self.content {
            Content::Job(job) => Message::new(message::encode(job), message::properties(job)),
            Content::Nonsense(body) => Message::new(body.clone(), Properties::default()),
        }
    }

    /// The job, if it is one.
    pub fn job(&self) -> Option<&Job> {
        match &self.content {
            Content::Job(job) => Some(job),
            Content::Nonsense(_) => None,
        }
    }
}

/// Everything that is published within `span` from `epoch` on, in order.
pub fn letters(rng: &mut fastrand::Rng, epoch: Timestamp, span: Duration) -> Vec<Letter> {
    let jobs = rng.usize(4..18);
    let hot = rng.usize(1..4);
    let mut times: Vec<u64> = (0..jobs).map(|_| rng.u64(..span.as_millis() as u64)).collect();
    if rng.bool() {
        times.iter_mut().for_each(|time| *time /= 10);
    }
    times.sort_unstable();
    let mut letters: Vec<Letter> = Vec::new();
    for (index, time) in times.into_iter().enumerate() {
        let at = Duration::from_millis(time);
        let content = match rng.u8(..20) {
            0 => Content::Nonsense(format!("{{\"nonsense\":{index}}}").into_bytes()),
            1 => match letters.iter().rev().find_map(Letter::job) {
                Some(job) => Content::Job(altered(job)),
                None => Content::Job(job(rng, index, hot, epoch + at)),
            },
            _ => Content::Job(job(rng, index, hot, epoch + at)),
        };
        letters.push(Letter { at, content, twice: rng.u8(..8) == 0 });
    }
    letters
}

/// Another job under the same id.
fn altered(job: &Job) -> Job {
    Job { payload: Payload::Text(format!("{}|another text", job.id)), ..job.clone() }
}

fn job(rng: &mut fastrand::Rng, index: usize, hot: usize, published: Timestamp) -> Job {
    let id = format!("job-{index}");
    let number = if rng.bool() { rng.usize(..hot) } else { 1_000 + index };
    let text = if rng.u8(..12) == 0 { "refused" } else { "a text" };
    let in_seconds = |seconds: u64| published + Duration::from_secs(seconds);
    let not_before = (rng.u8(..6) == 0).then(|| in_seconds(rng.u64(1..15)));
    let expires_at = (rng.u8(..5) == 0).then(|| in_seconds(rng.u64(1..40)));
    Job {
        payload: Payload::Text(format!("{id}|{text}")),
        mobile: Mobile::parse(&format!("138{number:08}")).unwrap(),
        account: if rng.u8(..4) == 0 { "backup" } else { "main" }.into(),
        priority: Priority::ALL[rng.usize(..3)],
        expires_at: expires_at.filter(|expires| not_before.is_none_or(|from| from <= *expires)),
        not_before,
        on_unknown: if rng.u8(..3) == 0 { OnUnknown::Resend } else { OnUnknown::Hold },
        metadata: None,
        published_at: Some(published),
        traceparent: None,
        id,
    }
}

/// The id of a job message, if it is one.
pub fn id_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.strip_prefix("{\"id\":\"")?.split('"').next().map(str::to_owned)
}

/// The id of the job that says this.
pub fn id_of_text(text: &str) -> &str {
    text.split('|').next().unwrap_or(text)
}
