//! The parameters of lists, `GET /api/v1/jobs` before all. What is unknown, stands twice or cannot be read is refused: a
//! filter that is ignored would show the wrong jobs.

use std::fmt::Display;

use axum::http::StatusCode;
use chrono::DateTime;

use super::port::{Filter, PageOf, Refused, RefusedPage, ReplayPage};
use crate::domain::job::{State, Timestamp};
use crate::domain::message::RejectReason;
use crate::domain::mobile::Mobile;
use crate::domain::replay;
use crate::web::problem::Problem;

/// Jobs of a page where no `limit` is given.
const LIMIT: u32 = 50;
/// The most jobs of a page.
const MAX_LIMIT: u32 = 1_000;

const KNOWN: [&str; 8] = ["state", "code", "account", "mobile", "since", "until", "limit", "cursor"];

/// The page that the query string asks for.
pub(super) fn page(query: &str) -> Result<PageOf, Problem> {
    let mut page = PageOf { filter: Filter::default(), limit: LIMIT, cursor: None };
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !KNOWN.contains(&name.as_ref()) {
            return Err(bad(format!("a parameter is not known: use {}", KNOWN.join(", "))));
        }
        if name != "state" && seen.iter().any(|earlier| *earlier == name) {
            return Err(bad(format!("`{name}` stands twice: remove one")));
        }
        take(&mut page, &name, &value).map_err(|problem| bad(format!("`{name}` {problem}")))?;
        seen.push(name.into_owned());
    }
    Ok(page)
}

fn take(page: &mut PageOf, name: &str, value: &str) -> Result<(), String> {
    let filter = &mut page.filter;
    if value.contains('\0') {
        return Err("holds a NUL character: remove it".into());
    }
    match name {
        "state" => filter.states.extend(states(value)?),
        "code" => filter.code = Some(value.parse().map_err(|_| "is no code: write a whole number such as 4030")?),
        "account" => filter.account = Some(value.to_owned()),
        "mobile" => filter.mobile = Some(Mobile::parse_any(value)?),
        "since" => filter.since = Some(time(value)?),
        "until" => filter.until = Some(time(value)?),
        "limit" => page.limit = limit(value)?,
        _ => page.cursor = Some(value.to_owned()),
    }
    Ok(())
}

/// The page of a replay's jobs that the query string asks for.
pub(super) fn replay_page(query: &str) -> Result<ReplayPage, Problem> {
    let mut page = ReplayPage { result: None, limit: LIMIT, after: 0 };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "result" if replay::RESULTS.contains(&value.as_ref()) => page.result = Some(value.into_owned()),
            "result" => return Err(bad(format!("`result` is none: use one of {}", replay::RESULTS.join(", ")))),
            "limit" => page.limit = limit(&value).map_err(|problem| bad(format!("`limit` {problem}")))?,
            "cursor" => {
                let after = value.parse().ok().filter(|after| *after >= 0);
                page.after = after.ok_or_else(|| bad("`cursor` is no cursor: pass one that an earlier page gave"))?;
            }
            _ => return Err(bad("a parameter is not known: use result, limit, cursor")),
        }
    }
    Ok(page)
}

/// The page of refused messages that the query string asks for.
pub(super) fn refused_page(query: &str) -> Result<RefusedPage, Problem> {
    let mut page = RefusedPage { filter: Refused::default(), limit: LIMIT, cursor: None };
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        take_refused(&mut page, &name, &value).map_err(bad)?;
    }
    Ok(page)
}

fn take_refused(page: &mut RefusedPage, name: &str, value: &str) -> Result<(), String> {
    let wrong = |problem: String| format!("`{name}` {problem}");
    match name {
        "reason" => {
            let reason = RejectReason::parse(value);
            page.filter.reason = Some(reason.ok_or_else(|| wrong(format!("is none: use one of {}", reasons())))?);
        }
        "since" => page.filter.since = Some(time(value).map_err(|problem| wrong(problem.into()))?),
        "until" => page.filter.until = Some(time(value).map_err(|problem| wrong(problem.into()))?),
        "limit" => page.limit = limit(value).map_err(wrong)?,
        "cursor" => page.cursor = Some(value.to_owned()),
        _ => return Err("a parameter is not known: use reason, since, until, limit, cursor".into()),
    }
    Ok(())
}

/// Limit and cursor of a list without filters.
pub(super) fn plain_page(query: &str) -> Result<(u32, Option<String>), Problem> {
    let (mut most, mut cursor) = (LIMIT, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "limit" => most = limit(&value).map_err(|problem| bad(format!("`limit` {problem}")))?,
            "cursor" => cursor = Some(value.into_owned()),
            _ => return Err(bad("a parameter is not known: use limit, cursor")),
        }
    }
    Ok((most, cursor))
}

/// The words for `reason`.
pub(super) fn reasons() -> String {
    RejectReason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn limit(value: &str) -> Result<u32, String> {
    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or(format!("is no number of jobs: write 1 to {MAX_LIMIT}"))
}

/// One word or several, separated by commas.
fn states(value: &str) -> Result<Vec<State>, String> {
    let known = || State::ALL.iter().map(State::to_string).collect::<Vec<_>>().join(", ");
    let state =
        |word: &str| State::parse(word.trim()).ok_or_else(|| format!("holds what is no state: use {}", known()));
    value.split(',').map(state).collect()
}

/// RFC 3339. A `+` that was not escaped came in as a blank.
pub(super) fn time(value: &str) -> Result<Timestamp, &'static str> {
    DateTime::parse_from_rfc3339(&value.replace(' ', "+"))
        .map(|time| time.to_utc())
        .map_err(|_| "is no RFC 3339 time with an offset: write it like 2026-11-11T09:30:00%2B08:00")
}

fn bad(detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_read() {
        let query = "state=failed,expired&state=in_doubt&code=4030&account=main&mobile=%2B86%20138-0013-8000\
                     &since=2026-11-11T09:30:00%2B08:00&until=2026-11-11T09:30:00+08:00&limit=7&cursor=abc";
        let page = page(query).unwrap();
        assert_eq!(page.filter.states, [State::Failed, State::Expired, State::InDoubt]);
        assert_eq!((page.filter.code, page.limit, page.cursor.as_deref()), (Some(4030), 7, Some("abc")));
        assert_eq!(page.filter.mobile, Mobile::parse("13800138000").ok());
        assert!(page.filter.since.is_some() && page.filter.since == page.filter.until);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for query in [
            "stat=failed",
            "state=sent",
            "state=",
            "code=x",
            "code=1&code=1",
            "mobile=12",
            "since=yesterday",
            "limit=0",
            "limit=1001",
            "limit=-1",
            "account=%00",
        ] {
            assert!(page(query).is_err(), "{query}");
        }
        assert_eq!(page("").unwrap().limit, LIMIT);
    }
}
