//! What publishers are told of their jobs: CloudEvents 1.0 in JSON, one for each fact.

use chrono::SecondsFormat;
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::value::RawValue;

use super::job::Timestamp;

/// The media type of [`Event::envelope`], and so of the message.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Every type of event: `type` of the envelope, and the routing key.
pub const TYPES: [&str; 7] =
    ["job.accepted", "job.failed", "job.expired", "job.in_doubt", "job.delivered", "job.undelivered", "reply.received"];

/// The members of `data` in events about a job.
pub const JOB_DATA: [&str; 9] = ["id", "mobile", "account", "state", "code", "message", "smsid", "metadata", "at"];

/// The members of `data` in `reply.received`; `id` is that of the matched job, or null.
pub const REPLY_DATA: [&str; 4] = ["mobile", "content", "at", "id"];

/// One fact, as the outbox has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its row in the outbox. Those of one job rise with time.
    pub number: i64,
    /// One of [`TYPES`], or one that a newer version writes.
    pub kind: String,
    /// The job that it is about; `None` for a reply that belongs to none.
    pub job_id: Option<String>,
    /// When it was committed, to the microsecond.
    pub at: Timestamp,
    /// `data`: a JSON object.
    pub data: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

impl Event {
    /// The same each time that this fact is published, by whichever process. Another fact has another
    /// one, also in another database, and in this one after it was restored from a backup, which counts
    /// rows from an earlier number on: the moment is in it too.
    pub fn id(&self) -> String {
        let mut digest = Md5::new();
        for part in [self.kind.as_str(), self.job_id.as_deref().unwrap_or_default()] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.update(self.number.to_le_bytes());
        digest.update(self.at.timestamp_micros().to_le_bytes());
        let half = digest.finalize()[..8].iter().fold(0_u64, |half, byte| half << 8 | u64::from(*byte));
        format!("{}-{half:016x}", self.number)
    }

    /// The message's body. `None` where `data` is no JSON, which Postgres does not store.
    pub fn envelope(&self, source: &str) -> Option<Vec<u8>> {
        let envelope = Envelope {
            specversion: "1.0",
            id: &self.id(),
            source,
            r#type: &self.kind,
            subject: self.job_id.as_deref(),
            time: self.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            datacontenttype: "application/json",
            // As it is: the digits of numbers in `metadata` are the publisher's.
            data: serde_json::from_str(&self.data).ok()?,
        };
        serde_json::to_vec(&envelope).ok()
    }
}

/// `source` of a deployment's events, by `rabbitmq.prefix`.
pub fn source(prefix: &str) -> String {
    format!("/dispatcher/{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            number: 42,
            kind: "job.accepted".into(),
            job_id: Some("order-1".into()),
            at: "2026-11-23T02:00:00.000250Z".parse().unwrap(),
            data: r#"{"id": "order-1", "metadata": {"big": 12345678901234567890.10}}"#.into(),
        }
    }

    #[test]
    fn an_id_is_of_one_fact() {
        let id = event().id();
        assert_eq!(id, event().id());
        assert_eq!(id, "42-84cd8df4c7a56894", "it never changes: what is published again is dropped by it");
        let others = [
            Event { number: 43, ..event() },
            Event { kind: "job.failed".into(), ..event() },
            Event { job_id: Some("order-2".into()), ..event() },
            Event { at: event().at + chrono::Duration::microseconds(1), ..event() },
        ];
        assert!(others.iter().all(|other| other.id() != id));
    }

    #[test]
    fn the_envelope_is_a_structured_cloud_event() {
        let body = String::from_utf8(event().envelope(&source("sms")).unwrap()).unwrap();
        let expected = format!(
            r#"{{"specversion":"1.0","id":"{}","source":"/dispatcher/sms","type":"job.accepted","subject":"order-1","time":"2026-11-23T02:00:00.000250Z","datacontenttype":"application/json","data":{}}}"#,
            event().id(),
            event().data,
        );
        assert_eq!(body, expected);
        let reply = Event { job_id: None, ..event() };
        let body: serde_json::Value = serde_json::from_slice(&reply.envelope("/x").unwrap()).unwrap();
        assert!(body.get("subject").is_none());
        assert_eq!(Event { data: "{".into(), ..event() }.envelope("/x"), None);
    }
}
