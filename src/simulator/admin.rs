//! The simulator's own pages under `/_sim/`, for demonstrations and black-box tests. They show full
//! numbers and texts: all of it is made up.
//!
//! - `GET /_sim/log?since=SEQ`: the submissions after that one, as JSON lines
//! - `GET /_sim/stats`: totals as a JSON object
//! - `POST /_sim/account/{id}`: changes an account, JSON with any of `balance frozen ip_denied ip_illegal
//!   signature_pending key`
//! - `POST /_sim/reply`: pushes a person's reply, JSON `mobile content smsid`
//! - `POST /_sim/lift/{mobile}`: lifts the blacklisting of 408

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::http::Request;
use super::options::Account;
use super::script::Answer;

/// Answers a request for `/_sim/` + `rest`.
pub fn answer(engine: &Engine, request: &Request<'_>, rest: &str) -> Answer {
    match (request.method, rest.split_once('/').unwrap_or((rest, ""))) {
        ("GET", ("log", "")) => log(engine, request.query),
        ("GET", ("stats", "")) => json(200, &engine.state().stats),
        ("POST", ("account", id)) => change_account(engine, id, &request.body),
        ("POST", ("reply", "")) => push_reply(engine, &request.body),
        ("POST", ("lift", mobile)) => {
            engine.state().gateway.lift(mobile);
            problem(200, "lifted")
        }
        _ => problem(404, "GET log, GET stats, POST account/{id}, POST reply or POST lift/{mobile}"),
    }
}

fn log(engine: &Engine, query: &[u8]) -> Answer {
    let since = query.strip_prefix(b"since=").and_then(|seq| std::str::from_utf8(seq).ok()?.parse().ok());
    let entries = engine.state().log.after(since.unwrap_or(0));
    let mut body = Vec::new();
    for entry in entries {
        // A plain struct of strings and numbers always serializes.
        let _ = serde_json::to_writer(&mut body, &entry);
        body.push(b'\n');
    }
    Answer::Raw { status: 200, content_type: "application/x-ndjson".into(), body }
}

/// What of an account is to change; the rest stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    balance: Option<u64>,
    frozen: Option<bool>,
    ip_denied: Option<bool>,
    ip_illegal: Option<bool>,
    signature_pending: Option<bool>,
    key: Option<String>,
}

/// An account as it stands, without its key.
#[derive(Debug, Serialize)]
struct Standing<'a> {
    id: &'a str,
    balance: u64,
    frozen: bool,
    ip_denied: bool,
    ip_illegal: bool,
    signature_pending: bool,
}

impl Change {
    fn apply(self, account: &mut Account) {
        account.balance = self.balance.unwrap_or(account.balance);
        account.frozen = self.frozen.unwrap_or(account.frozen);
        account.ip_denied = self.ip_denied.unwrap_or(account.ip_denied);
        account.ip_illegal = self.ip_illegal.unwrap_or(account.ip_illegal);
        account.signature_pending = self.signature_pending.unwrap_or(account.signature_pending);
        if let Some(key) = self.key {
            account.key = key;
        }
    }
}

fn change_account(engine: &Engine, id: &str, body: &[u8]) -> Answer {
    let change: Change = match serde_json::from_slice(body) {
        Ok(change) => change,
        Err(error) => return problem(400, &error.to_string()),
    };
    let mut state = engine.state();
    let Some(account) = state.gateway.account_mut(id) else {
        return problem(404, "no such account");
    };
    change.apply(account);
    let standing = Standing {
        id: &account.id,
        balance: account.balance,
        frozen: account.frozen,
        ip_denied: account.ip_denied,
        ip_illegal: account.ip_illegal,
        signature_pending: account.signature_pending,
    };
    json(200, &standing)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonReply {
    mobile: String,
    content: String,
    #[serde(default)]
    smsid: String,
}

fn push_reply(engine: &Engine, body: &[u8]) -> Answer {
    match serde_json::from_slice::<PersonReply>(body) {
        Ok(reply) if engine.push_reply(&reply.mobile, &reply.content, &reply.smsid) => problem(200, "pushed"),
        Ok(_) => problem(400, "start the simulator with a reply URL"),
        Err(error) => problem(400, &error.to_string()),
    }
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Answer::Raw { status, content_type: "application/json".into(), body },
        Err(error) => problem(500, &error.to_string()),
    }
}

fn problem(status: u16, text: &str) -> Answer {
    Answer::Raw { status, content_type: "text/plain; charset=utf-8".into(), body: format!("{text}\n").into() }
}
