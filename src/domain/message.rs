//! A job message: from the bytes that a publisher sent to a [`Job`] that is valid, and back.
//!
//! Decoding is strict: an unknown field, a repeated key or a bad value refuses the whole message,
//! because a misspelt `expires_at` that is ignored sends an SMS which nobody wants any more. What
//! is refused is told in words for a person, who sees them in `rejections`: the field, the problem
//! and the cure, but never the text or the number.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};

use super::job::{Job, OnUnknown, Payload, Priority, Timestamp, words};
use super::json::{Json, Members, compact, write_string};
use super::mobile::Mobile;
use super::template::Templates;
use super::text::has_emoji;

/// The longest body that is looked at, in bytes.
pub const MAX_BODY: usize = 256 * 1024;
/// The longest `metadata`, in bytes of compact JSON (as written, without white space).
pub const MAX_METADATA: usize = 4 * 1024;
/// The longest `id`, in characters.
pub const MAX_ID: usize = 128;
/// The longest `template_id`, in characters.
pub const MAX_TEMPLATE_ID: usize = 64;

/// The fields of a message, in the order of the contract.
pub const FIELDS: [&str; 10] = [
    "id",
    "mobile",
    "content",
    "template_id",
    "variables",
    "account",
    "not_before",
    "expires_at",
    "on_unknown",
    "metadata",
];

words! {
    /// Why a message is no valid job: `rejections.reason`, and the label of `jobs_rejected_total`.
    RejectReason {
        /// Not a JSON object in UTF-8, or too large.
        BadJson = "bad_json",
        /// A field is unknown, repeated, missing or has a bad value.
        BadField = "bad_field",
        /// A NUL character, which Postgres cannot store.
        Nul = "nul",
        /// `not_before` is after `expires_at`.
        BadWindow = "bad_window",
        /// `account` is not configured.
        UnknownAccount = "unknown_account",
        /// Another job was published under the same id.
        IdConflict = "id_conflict",
    }
}

/// A message that is no valid job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which rule it broke.
    pub reason: RejectReason,
    /// The field, the problem and the cure. Holds no text and no full number.
    pub detail: String,
}

impl Rejection {
    /// A rejection with its words.
    pub fn new(reason: RejectReason, detail: impl Into<String>) -> Self {
        Rejection { reason, detail: detail.into() }
    }
}

/// What came with the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// AMQP `message_id`: the job's id where the body has none.
    pub message_id: Option<String>,
    /// `<priority>.<mobile>`; only the priority is read.
    pub routing_key: String,
    /// When it was published: header `x-published-ms`, else AMQP `timestamp`. Unix milliseconds; a
    /// value below 10^11 is taken as seconds, which is what AMQP's own property holds.
    pub timestamp_ms: Option<i64>,
    /// Header `traceparent` (W3C). One that is malformed is ignored, as W3C asks.
    pub traceparent: Option<String>,
}

/// What the configuration says about messages.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The longest text, in characters (`gateway.content_max`).
    pub content_max: usize,
    /// The account of a message that names none.
    pub default_account: String,
    /// All configured accounts.
    pub accounts: BTreeSet<String>,
    /// For a message that does not say (`in_doubt.on_unknown`).
    pub on_unknown: OnUnknown,
    /// What is looked at before a request is spent (`checks`).
    pub checks: Checks,
    /// The templates that are known here (`templates.NAME`).
    pub templates: Templates,
}

/// What ihuyi would refuse, each looked at here or left to its code (`checks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// A number must begin with 13 to 19 (406). Default true. It has 11 digits in any case.
    pub mobile: bool,
    /// A text, or joined variables, must not be longer than [`Rules::content_max`] (4073). Default true.
    pub length: bool,
    /// There must be no emoji (4074). Default false: which characters ihuyi takes for some is not published.
    pub emoji: bool,
    /// A text must match a configured template (4072). Default false.
    pub template: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { mobile: true, length: true, emoji: false, template: false }
    }
}

impl Checks {
    /// All is left to ihuyi.
    const NONE: Checks = Checks { mobile: false, length: false, emoji: false, template: false };
}

/// The job in a message, or why it is none. A job whose `expires_at` has passed is valid: it will
/// be recorded as expired.
pub fn decode(body: &[u8], properties: &Properties, rules: &Rules) -> Result<Job, Rejection> {
    let job = read(body, properties, rules, rules.checks, Some(&rules.templates))?;
    check_window(&job)?;
    Ok(job)
}

/// The job in the message of one that was released: it was judged when it came first, and stricter rules since then
/// must not hold it back for ever. Nor is its window judged: a replay gives it another `expires_at`, which may come
/// before its `not_before`. Then it waits, and expires.
pub fn decode_released(body: &[u8], properties: &Properties, rules: &Rules) -> Result<Job, Rejection> {
    read(body, properties, rules, Checks::NONE, None)
}

fn read(
    body: &[u8],
    properties: &Properties,
    rules: &Rules,
    checks: Checks,
    templates: Option<&Templates>,
) -> Result<Job, Rejection> {
    let text = utf8(body)?;
    let fields = Fields::parse(text)?;
    let not_before = fields.time("not_before")?;
    let expires_at = fields.time("expires_at")?;
    let job = Job {
        id: id(&fields, properties)?,
        mobile: mobile(&fields, checks)?,
        payload: payload(&fields, if checks.length { rules.content_max } else { usize::MAX })?,
        account: account(&fields, rules)?,
        priority: Priority::of_routing_key(&properties.routing_key),
        not_before,
        expires_at,
        on_unknown: on_unknown(&fields, rules)?,
        metadata: metadata(&fields)?,
        published_at: properties.timestamp_ms.and_then(instant),
        traceparent: properties.traceparent.as_ref().filter(|text| is_traceparent(text)).cloned(),
    };
    check_payload(&job.payload, checks, templates)?;
    Ok(job)
}

fn check_window(job: &Job) -> Result<(), Rejection> {
    match (job.not_before, job.expires_at) {
        (Some(from), Some(to)) if from > to => Err(Rejection::new(
            RejectReason::BadWindow,
            "`not_before` is after `expires_at`: the job could never be sent; swap or correct them",
        )),
        _ => Ok(()),
    }
}

/// The account that a message names, whatever else is wrong with it.
pub fn account_named(body: &[u8]) -> Option<String> {
    let Members(members) = object(body).ok()?;
    let (_, raw) = members.into_iter().find(|(name, _)| name == "account")?;
    match Json::parse(raw) {
        Ok(Json::Text(name)) => Some(name.into_owned()),
        _ => None,
    }
}

/// The body of a message for `job`. With [`properties`] beside it, [`decode`] gives `job` back.
pub fn encode(job: &Job) -> Vec<u8> {
    let mut out = String::with_capacity(256);
    out.push_str("{\"id\":");
    write_string(&job.id, &mut out);
    member(&mut out, "mobile", &job.mobile.digits());
    match &job.payload {
        Payload::Text(text) => member(&mut out, "content", text),
        Payload::Template { id, variables } => {
            member(&mut out, "template_id", id);
            out.push_str(",\"variables\":[");
            for (i, variable) in variables.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_string(variable, &mut out);
            }
            out.push(']');
        }
    }
    member(&mut out, "account", &job.account);
    for (name, at) in [("not_before", job.not_before), ("expires_at", job.expires_at)] {
        if let Some(at) = at {
            member(&mut out, name, &at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
    }
    member(&mut out, "on_unknown", job.on_unknown.as_str());
    if let Some(metadata) = &job.metadata {
        out.push_str(",\"metadata\":");
        out.push_str(metadata);
    }
    out.push('}');
    out.into_bytes()
}

/// The properties of a message for `job`; its id is in the body.
pub fn properties(job: &Job) -> Properties {
    Properties {
        message_id: None,
        routing_key: format!("{}.{}", job.priority, job.mobile.digits()),
        timestamp_ms: job.published_at.map(|at| at.timestamp_millis()),
        traceparent: job.traceparent.clone(),
    }
}

fn member(out: &mut String, name: &str, value: &str) {
    out.push(',');
    write_string(name, out);
    out.push(':');
    write_string(value, out);
}

/// A field of a message: its name, its value as written and as parsed.
struct Field<'a> {
    name: Cow<'a, str>,
    raw: &'a str,
    value: Json<'a>,
}

/// The fields that a message has: known ones, each once, none `null`, no NUL in any.
struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, Rejection> {
        let Members(members) = Members::parse(text).map_err(bad_json)?;
        check_names(&members)?;
        let mut fields = Vec::with_capacity(members.len());
        for (name, raw) in members {
            let value = Json::parse(raw).map_err(|problem| bad_json(format!("`{name}`: {problem}")))?;
            // This is NUL's only escape; a raw one was refused before.
            if raw.contains("\\u0000") && value.any_text(&|text| text.contains('\0')) {
                return Err(nul(&name));
            }
            if value != Json::Null {
                fields.push(Field { name, raw, value });
            }
        }
        Ok(Fields(fields))
    }

    fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.0.iter().find(|field| field.name == name)
    }

    fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.field(name).map(|field| &field.value)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, Rejection> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(bad_field(format!("`{name}` is {}: it must be a string, in quotes", other.kind()))),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Timestamp>, Rejection> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // A time of the year 9999 may be one of 10000 in UTC, which no RFC 3339 time can say again.
        let in_utc = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc));
        match in_utc {
            Ok(time) if (0..10_000).contains(&time.year()) => Ok(Some(time)),
            _ => Err(bad_field(format!(
                "`{name}` is no RFC 3339 time with an offset: write it like 2026-11-11T09:30:00+08:00"
            ))),
        }
    }
}

fn check_names(members: &[(Cow<'_, str>, &str)]) -> Result<(), Rejection> {
    for (i, (name, _)) in members.iter().enumerate() {
        if !FIELDS.contains(&name.as_ref()) {
            return Err(bad_field(format!("{} is no known field: use {}", quoted(name), FIELDS.join(", "))));
        }
        if members[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(bad_field(format!("`{name}` stands twice: remove one")));
        }
    }
    Ok(())
}

/// The members of a body that is one JSON object in UTF-8.
pub(super) fn object(body: &[u8]) -> Result<Members<'_>, Rejection> {
    Members::parse(utf8(body)?).map_err(bad_json)
}

fn bad_json(problem: String) -> Rejection {
    Rejection::new(RejectReason::BadJson, format!("the body is no valid JSON: {problem}"))
}

/// The body as text: not too long, no NUL, no byte order mark.
fn utf8(body: &[u8]) -> Result<&str, Rejection> {
    let bad_json = |detail: String| Err(Rejection::new(RejectReason::BadJson, detail));
    if body.len() > MAX_BODY {
        return bad_json(format!("the body has {} bytes: at most {MAX_BODY} are taken", body.len()));
    }
    if let Some(at) = body.iter().position(|byte| *byte == 0) {
        let detail = format!("the body holds a NUL byte (at {at}): send JSON in UTF-8 without NUL");
        return Err(Rejection::new(RejectReason::Nul, detail));
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        return bad_json("the body begins with a byte order mark: send UTF-8 without one".into());
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text),
        Err(e) => bad_json(format!("the body is no UTF-8 from byte {} on: encode it as UTF-8", e.valid_up_to())),
    }
}

/// The id of the body or, where it has none, of the AMQP `message_id`. If both are there and
/// differ, the body's counts.
fn id(fields: &Fields, properties: &Properties) -> Result<String, Rejection> {
    let (name, id) = match (fields.text("id")?, properties.message_id.as_deref()) {
        (Some(id), _) => ("`id`", id),
        (None, Some(id)) => ("the AMQP `message_id`", id),
        (None, None) => return Err(bad_field("`id` is missing: set it, or the AMQP `message_id`")),
    };
    if id.contains('\0') {
        return Err(nul("id"));
    }
    if !is_printable(id, MAX_ID) {
        return Err(bad_field(format!("{name} must be 1 to {MAX_ID} printable ASCII characters")));
    }
    Ok(id.to_owned())
}

fn mobile(fields: &Fields, checks: Checks) -> Result<Mobile, Rejection> {
    let text = fields.text("mobile")?.ok_or_else(|| bad_field("`mobile` is missing: set it"))?;
    let parse = if checks.mobile { Mobile::parse } else { Mobile::parse_any };
    parse(text).map_err(|problem| bad_field(format!("`mobile` {problem}")))
}

fn payload(fields: &Fields, content_max: usize) -> Result<Payload, Rejection> {
    let content = fields.text("content")?;
    let template_id = fields.text("template_id")?;
    let variables = fields.get("variables");
    match (content, template_id, variables) {
        (Some(text), None, None) => {
            check_length("`content`", text.chars().count(), content_max)?;
            Ok(Payload::Text(text.to_owned()))
        }
        (None, Some(id), Some(list)) => template(id, list, content_max),
        (None, None, None) => Err(bad_field("`content` is missing: set it, or `template_id` and `variables`")),
        (None, Some(_), None) => Err(bad_field("`variables` is missing: `template_id` needs it")),
        (None, None, Some(_)) => Err(bad_field("`template_id` is missing: `variables` needs it")),
        (Some(_), ..) => {
            Err(bad_field("`content` excludes `template_id` and `variables`: send the one or the other two"))
        }
    }
}

fn template(id: &str, variables: &Json, content_max: usize) -> Result<Payload, Rejection> {
    if !is_printable(id, MAX_TEMPLATE_ID) {
        return Err(bad_field(format!("`template_id` must be 1 to {MAX_TEMPLATE_ID} printable ASCII characters")));
    }
    let Json::List(items) = variables else {
        return Err(bad_field(format!("`variables` is {}: it must be an array of strings", variables.kind())));
    };
    let variables = items.iter().enumerate().map(|(i, item)| variable(i, item)).collect::<Result<Vec<_>, _>>()?;
    // They are sent joined by `|`.
    let length = variables.iter().map(|v| v.chars().count()).sum::<usize>() + variables.len().saturating_sub(1);
    check_length("`variables`, joined by |,", length, content_max)?;
    Ok(Payload::Template { id: id.to_owned(), variables })
}

/// What ihuyi would refuse by its own rules.
fn check_payload(payload: &Payload, checks: Checks, templates: Option<&Templates>) -> Result<(), Rejection> {
    let emoji = |what: &str| Err(bad_field(format!("{what} holds an emoji, which ihuyi refuses (4074): remove it")));
    match payload {
        Payload::Text(text) if checks.emoji && has_emoji(text) => emoji("`content`"),
        Payload::Text(text) => match templates.filter(|_| checks.template).map(|known| known.matching(text)) {
            Some(Err(Some((name, misfit)))) => {
                let nearest = format!("the nearest is {name}: {misfit}");
                Err(bad_field(format!("`content` matches no configured template (4072); {nearest}")))
            }
            _ => Ok(()),
        },
        Payload::Template { variables, .. } if checks.emoji && variables.iter().any(|text| has_emoji(text)) => {
            emoji("`variables`")
        }
        Payload::Template { id, variables } => {
            templates.map_or(Ok(()), |known| known.check(id, variables)).map_err(bad_field)
        }
    }
}

fn variable(index: usize, item: &Json) -> Result<String, Rejection> {
    match item {
        Json::Text(text) if text.contains('|') => {
            Err(bad_field(format!("`variables[{index}]` holds `|`, which separates variables on the wire: remove it")))
        }
        Json::Text(text) => Ok(text.clone().into_owned()),
        other => Err(bad_field(format!("`variables[{index}]` is {}: it must be a string, in quotes", other.kind()))),
    }
}

fn check_length(what: &str, characters: usize, max: usize) -> Result<(), Rejection> {
    match characters {
        0 => Err(bad_field(format!("{what} must not be empty"))),
        n if n > max => Err(bad_field(format!("{what} must have at most {max} characters, not {n}: shorten it"))),
        _ => Ok(()),
    }
}

fn account(fields: &Fields, rules: &Rules) -> Result<String, Rejection> {
    let name = match fields.text("account")? {
        None => return Ok(rules.default_account.clone()),
        Some(name) => name,
    };
    if rules.accounts.contains(name) {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> = rules.accounts.iter().map(String::as_str).collect();
    let detail = format!("`account` {} is not configured: use {}", quoted(name), known.join(", "));
    Err(Rejection::new(RejectReason::UnknownAccount, detail))
}

fn on_unknown(fields: &Fields, rules: &Rules) -> Result<OnUnknown, Rejection> {
    match fields.text("on_unknown")? {
        None => Ok(rules.on_unknown),
        Some(word) => OnUnknown::parse(word).ok_or_else(|| bad_field("`on_unknown` must be \"hold\" or \"resend\"")),
    }
}

fn metadata(fields: &Fields) -> Result<Option<String>, Rejection> {
    let Some(Field { raw, value, .. }) = fields.field("metadata") else { return Ok(None) };
    if !matches!(value, Json::Object(_)) {
        return Err(bad_field(format!("`metadata` is {}: it must be an object", value.kind())));
    }
    if value.repeats_a_key() {
        return Err(bad_field("`metadata` holds the same key twice: remove one"));
    }
    let text = compact(raw);
    if text.len() > MAX_METADATA {
        let size = text.len();
        return Err(bad_field(format!("`metadata` has {size} bytes as compact JSON: at most {MAX_METADATA} are kept")));
    }
    Ok(Some(text))
}

/// 1 to `max` characters from space to tilde.
fn is_printable(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// Unix milliseconds, or seconds below 10^11 (as milliseconds that would be before March 1973).
/// What is not after 1970 or out of range says nothing about when it was published.
fn instant(value: i64) -> Option<Timestamp> {
    match value {
        ..=0 => None,
        1..100_000_000_000 => DateTime::from_timestamp(value, 0),
        _ => DateTime::from_timestamp_millis(value),
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not all zero; a later version may have more
/// behind it (<https://www.w3.org/TR/trace-context/#traceparent-header>).
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    let (Some(version), Some(trace), Some(span), Some(_)) = (hex(2), hex(32), hex(16), hex(2)) else {
        return false;
    };
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let length_fits = if version == "00" { text.len() == 55 } else { text.len() <= 255 && text.is_ascii() };
    version != "ff" && length_fits && !zero(trace) && !zero(span) && !text.contains('\0')
}

/// A name out of a message, fit for a detail: short, printable, and without what might be a number
/// or a text that slipped into the wrong place.
fn quoted(name: &str) -> String {
    let is_name = name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    if is_name && !name.is_empty() && digits < 7 { format!("`{name}`") } else { "(a name not shown here)".into() }
}

fn bad_field(detail: impl Into<String>) -> Rejection {
    Rejection::new(RejectReason::BadField, detail)
}

fn nul(field: &str) -> Rejection {
    Rejection::new(RejectReason::Nul, format!("`{field}` holds a NUL character, which cannot be stored: remove it"))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
