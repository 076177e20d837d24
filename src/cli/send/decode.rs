//! From a line to a valid job, by the rules that the daemon will apply.

use std::collections::BTreeSet;

use chrono::Utc;

use crate::broker::Message;
use crate::config::Config;
use crate::domain::job::{Job, Priority};
use crate::domain::json::{Json, Members, write_string};
use crate::domain::message::{self, Properties, RejectReason, Rejection, Rules};

/// Judges lines.
pub(super) struct Decoder {
    rules: Rules,
    /// No account is configured here, so that any name passes.
    any_account: bool,
    /// What is no job is a message all the same.
    unchecked: bool,
}

impl Decoder {
    /// By the rules of `config`.
    pub fn new(config: &Config) -> Self {
        Decoder {
            any_account: config.accounts.is_empty(),
            unchecked: false,
            rules: Rules {
                content_max: config.gateway.content_max,
                default_account: config.default_account_name().unwrap_or_default().to_owned(),
                accounts: config.accounts.keys().cloned().collect(),
                on_unknown: config.in_doubt.on_unknown,
            },
        }
    }

    /// Lets everything pass: the daemon will judge it.
    pub fn unchecked(self) -> Self {
        Decoder { unchecked: true, ..self }
    }

    /// The message for `line`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn message(&mut self, line: &[u8]) -> Result<Message, Rejection> {
        match self.decode(line) {
            Ok(job) => Ok(Message::of(&job)),
            Err(_) if self.unchecked => Ok(as_it_is(line)),
            Err(rejection) => Err(rejection),
        }
    }

    /// The job in `line`, published now.
    ///
    /// # Errors
    /// Why there is none. The words hold neither text nor number.
    pub fn decode(&mut self, line: &[u8]) -> Result<Job, Rejection> {
        let members = std::str::from_utf8(line).ok().and_then(|text| Members::parse(text).ok());
        let Some(Members(members)) = members else { return message::decode(line, &now("normal"), &self.rules) };
        let (priority, body) = split_priority(&members)?;
        if value(&members, "id").is_none() {
            return Err(bad_field(
                "`id` is missing: it is the idempotency key; give each job its own, and send it again under the same",
            ));
        }
        if self.any_account {
            self.allow(value(&members, "account"))?;
        }
        message::decode(body.as_deref().unwrap_or(line), &now(priority), &self.rules)
    }

    /// Lets the account that a line names pass.
    fn allow(&mut self, account: Option<&str>) -> Result<(), Rejection> {
        match account.map(Json::parse) {
            Some(Ok(Json::Text(name))) => self.rules.accounts = BTreeSet::from([name.into_owned()]),
            // Its kind is refused with the other fields.
            Some(_) => {}
            None => {
                return Err(bad_field(
                    "`account` is missing, and this configuration has none to take instead: name the one that sends it",
                ));
            }
        }
        Ok(())
    }
}

/// A message that is no job, for the daemon to refuse: without its priority where it has one.
fn as_it_is(line: &[u8]) -> Message {
    let members = std::str::from_utf8(line).ok().and_then(|text| Members::parse(text).ok());
    let split = members.and_then(|Members(members)| split_priority(&members).ok());
    let (priority, body) = split.unwrap_or((Priority::Normal.as_str(), None));
    Message::unchecked(body.unwrap_or_else(|| line.to_vec()), priority, Utc::now().timestamp_millis())
}

/// The priority, which is no part of a message, and the message without it; `None` where it has none.
fn split_priority(members: &[(std::borrow::Cow<'_, str>, &str)]) -> Result<(&'static str, Option<Vec<u8>>), Rejection> {
    let mut given = members.iter().filter(|(name, _)| name == "priority").map(|(_, raw)| *raw);
    let Some(raw) = given.next() else { return Ok((Priority::Normal.as_str(), None)) };
    if given.next().is_some() {
        return Err(bad_field("`priority` stands twice: remove one"));
    }
    let priority = match Json::parse(raw) {
        Ok(Json::Null) => Some(Priority::Normal),
        Ok(Json::Text(word)) => Priority::parse(&word),
        _ => None,
    };
    let priority = priority.ok_or_else(|| bad_field("`priority` must be \"high\", \"normal\" or \"bulk\""))?;
    let mut body = String::from("{");
    for (name, raw) in members.iter().filter(|(name, _)| name != "priority") {
        body.push_str(if body.len() == 1 { "" } else { "," });
        write_string(name, &mut body);
        body.push(':');
        body.push_str(raw);
    }
    body.push('}');
    Ok((priority.as_str(), Some(body.into_bytes())))
}

/// The value of a field that is there and not null.
fn value<'a>(members: &[(std::borrow::Cow<'_, str>, &'a str)], name: &str) -> Option<&'a str> {
    members.iter().find(|(field, raw)| field == name && *raw != "null").map(|(_, raw)| *raw)
}

fn now(priority: &str) -> Properties {
    Properties {
        routing_key: priority.to_owned(),
        timestamp_ms: Some(Utc::now().timestamp_millis()),
        ..Properties::default()
    }
}

fn bad_field(detail: &str) -> Rejection {
    Rejection::new(RejectReason::BadField, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Needs, load};

    fn decoder(accounts: &[&str]) -> Decoder {
        let mut env = vec![
            ("DISPATCHER__RABBITMQ__URL".to_owned(), "amqp://x@127.0.0.1/%2f".to_owned()),
            ("DISPATCHER__POSTGRES__URL".to_owned(), "postgres://x@127.0.0.1/x".to_owned()),
        ];
        for name in accounts {
            env.push((format!("DISPATCHER__ACCOUNTS__{}__API_ID", name.to_uppercase()), "C1".to_owned()));
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        Decoder::new(&load(Some(empty.path()), env.into_iter(), Needs::NoSecrets).unwrap())
    }

    fn job(decoder: &mut Decoder, line: &str) -> Result<Job, String> {
        decoder.decode(line.as_bytes()).map_err(|refused| refused.detail)
    }

    #[test]
    fn priority_leaves_the_message_and_names_the_queue() {
        let mut decoder = decoder(&["main"]);
        let line = r#"{"priority":"bulk","id":"a","mobile":"13800138000","content":"您好","metadata":{"n":1.50}}"#;
        let taken = job(&mut decoder, line).unwrap();
        assert_eq!((taken.priority, taken.account.as_str()), (Priority::Bulk, "main"));
        assert_eq!(taken.metadata.as_deref(), Some(r#"{"n":1.50}"#), "as it was written");
        assert!(taken.published_at.is_some_and(|at| (Utc::now() - at).num_seconds() < 60));
        let taken = job(&mut decoder, r#"{"id":"a","mobile":"13800138000","content":"x","priority":null}"#).unwrap();
        assert_eq!(taken.priority, Priority::Normal);
    }

    #[test]
    fn what_is_refused_says_why() {
        let mut decoder = decoder(&["main"]);
        for (line, words) in [
            (r#"{"mobile":"13800138000","content":"x"}"#, "idempotency key"),
            (r#"{"id":null,"mobile":"13800138000","content":"x"}"#, "idempotency key"),
            (r#"{"id":"a","mobile":"13800138000","content":"x","priority":"urgent"}"#, "`priority`"),
            (r#"{"id":"a","priority":"high","priority":"bulk"}"#, "twice"),
            (r#"{"id":"a","mobile":"1","content":"x"}"#, "`mobile`"),
            (r#"{"id":"a","mobile":"13800138000","content":"x","text":"y"}"#, "`text`"),
            (r#"{"id":"a","mobile":"13800138000","content":"x","account":"other"}"#, "use main"),
            ("[]", "object"),
            ("{", "JSON"),
        ] {
            let problem = job(&mut decoder, line).unwrap_err();
            assert!(problem.contains(words), "{line}: {problem}");
        }
        assert!(decoder.decode(b"\xff").unwrap_err().detail.contains("UTF-8"));
    }

    #[test]
    fn without_configured_accounts_any_name_passes_but_one_must_be_given() {
        let mut decoder = decoder(&[]);
        for name in ["shop", "other"] {
            let line = format!(r#"{{"id":"a","mobile":"13800138000","content":"x","account":"{name}"}}"#);
            assert_eq!(job(&mut decoder, &line).unwrap().account, name);
        }
        let without = r#"{"id":"a","mobile":"13800138000","content":"x"}"#;
        assert!(job(&mut decoder, without).unwrap_err().contains("`account` is missing"));
    }
}
