//! From a line to a valid job, by the rules that the daemon will apply.

use std::collections::BTreeSet;

use chrono::Utc;

use crate::broker::Message;
use crate::config::Config;
use crate::domain::job::Job;
use crate::domain::json::Json;
use crate::domain::message::{RejectReason, Rejection, Rules};
use crate::domain::posted::Posted;

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
                checks: config.checks,
                templates: config.templates.clone(),
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
            Err(_) if self.unchecked => {
                let Posted { priority, body, .. } = Posted::unchecked(line);
                Ok(Message::unchecked(body, priority.as_str(), Utc::now().timestamp_millis()))
            }
            Err(rejection) => Err(rejection),
        }
    }

    /// The job in `line`, published now.
    ///
    /// # Errors
    /// Why there is none. The words hold neither text nor number.
    pub fn decode(&mut self, line: &[u8]) -> Result<Job, Rejection> {
        let posted = Posted::read(line)?;
        if self.any_account {
            self.allow(posted.account.as_deref())?;
        }
        posted.decode(Utc::now().timestamp_millis(), &self.rules)
    }

    /// Lets the account that a line names pass.
    fn allow(&mut self, account: Option<&str>) -> Result<(), Rejection> {
        match account.map(Json::parse) {
            Some(Ok(Json::Text(name))) => self.rules.accounts = BTreeSet::from([name.into_owned()]),
            // Its kind is refused with the other fields.
            Some(_) => {}
            None => {
                let detail = "`account` is missing, and this configuration has none to take instead: name the one that \
                     sends it";
                return Err(Rejection::new(RejectReason::BadField, detail));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Needs, load};
    use crate::domain::job::Priority;

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
