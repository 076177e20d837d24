//! A job as people hand it in, over HTTP or as a line of a file: a message with an optional `priority`
//! among its fields, which for a message stands in the routing key.

use super::job::{Job, Priority};
use super::json::{Json, Members, write_string};
use super::message::{self, Properties, RejectReason, Rejection, Rules};

/// What was handed in, before it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The priority that it names, else `normal`.
    pub priority: Priority,
    /// The message, without the priority.
    pub body: Vec<u8>,
    /// The value of `account` as it was written; `None` where it is absent or null.
    pub account: Option<String>,
}

impl Posted {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// When it is no JSON object, the priority stands twice or is none, or there is no `id`, for which there is
    /// no other place here.
    pub fn read(text: &[u8]) -> Result<Posted, Rejection> {
        let Members(members) = message::object(text)?;
        let (priority, body) = split(&members)?;
        if value(&members, "id").is_none() {
            return Err(bad_field(
                "`id` is missing: it is the idempotency key; give each job its own, and send it again under the same",
            ));
        }
        let account = value(&members, "account").map(str::to_owned);
        Ok(Posted { priority, body: body.unwrap_or_else(|| text.to_vec()), account })
    }

    /// The job in it, by the rules for messages, published at `now_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// Why it is none. The words hold neither text nor number.
    pub fn decode(&self, now_ms: i64, rules: &Rules) -> Result<Job, Rejection> {
        let routing_key = self.priority.as_str().to_owned();
        let properties = Properties { routing_key, timestamp_ms: Some(now_ms), ..Properties::default() };
        message::decode(&self.body, &properties, rules)
    }

    /// Takes `text` apart without judging it: what is wrong with it is left in.
    pub fn unchecked(text: &[u8]) -> Posted {
        let split = message::object(text).ok().and_then(|Members(members)| split(&members).ok());
        let (priority, body) = split.unwrap_or((Priority::Normal, None));
        Posted { priority, body: body.unwrap_or_else(|| text.to_vec()), account: None }
    }
}

type Member<'a> = (std::borrow::Cow<'a, str>, &'a str);

/// The priority, and the message without it; `None` where it has none.
fn split(members: &[Member<'_>]) -> Result<(Priority, Option<Vec<u8>>), Rejection> {
    let mut given = members.iter().filter(|(name, _)| name == "priority").map(|(_, raw)| *raw);
    let Some(raw) = given.next() else { return Ok((Priority::Normal, None)) };
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
    Ok((priority, Some(body.into_bytes())))
}

/// The value of a field that is there and not null.
fn value<'a>(members: &[Member<'a>], name: &str) -> Option<&'a str> {
    members.iter().find(|(field, raw)| field == name && *raw != "null").map(|(_, raw)| *raw)
}

fn bad_field(detail: &str) -> Rejection {
    Rejection::new(RejectReason::BadField, detail)
}
