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

/// The page that the query string asks for.
pub(super) fn page(query: &str) -> Result<PageOf, Problem> {
    let known = ["state", "code", "account", "mobile", "since", "until", "limit", "cursor"];
    let mut page = PageOf { filter: Filter::default(), limit: LIMIT, cursor: None };
    for (name, value) in parameters(query, &known, &["state"])? {
        take(&mut page, name, &value).map_err(|problem| bad(format!("`{name}` {problem}")))?;
    }
    Ok(page)
}

/// The parameters of a query string, each of them one of `known`, and once; those of `many` as often as you like.
fn parameters<'a>(query: &str, known: &'a [&'static str], many: &[&str]) -> Result<Vec<(&'a str, String)>, Problem> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let Some(name) = known.iter().copied().find(|known| *known == name) else {
            return Err(bad(format!("a parameter is not known: use {}", known.join(", "))));
        };
        if !many.contains(&name) && found.iter().any(|(earlier, _)| *earlier == name) {
            return Err(bad(format!("`{name}` stands twice: remove one")));
        }
        if value.contains('\0') {
            return Err(bad(format!("`{name}` holds a NUL character: remove it")));
        }
        found.push((name, value.into_owned()));
    }
    Ok(found)
}

fn take(page: &mut PageOf, name: &str, value: &str) -> Result<(), String> {
    let filter = &mut page.filter;
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
    for (name, value) in parameters(query, &["result", "limit", "cursor"], &[])? {
        match name {
            "result" if replay::RESULTS.contains(&value.as_str()) => page.result = Some(value),
            "result" => return Err(bad(format!("`result` is none: use one of {}", replay::RESULTS.join(", ")))),
            "limit" => page.limit = limit(&value).map_err(|problem| bad(format!("`limit` {problem}")))?,
            _ => page.after = number(&value)?,
        }
    }
    Ok(page)
}

/// Limit and cursor of a list whose cursors are numbers.
pub(super) fn numbered_page(query: &str) -> Result<(u32, Option<i64>), Problem> {
    let (limit, cursor) = plain_page(query)?;
    Ok((limit, cursor.map(|cursor| number(&cursor)).transpose()?))
}

fn number(cursor: &str) -> Result<i64, Problem> {
    let number = cursor.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| bad("`cursor` is no cursor: pass one that an earlier page gave"))
}

/// The page of refused messages that the query string asks for.
pub(super) fn refused_page(query: &str) -> Result<RefusedPage, Problem> {
    let mut page = RefusedPage { filter: Refused::default(), limit: LIMIT, cursor: None };
    for (name, value) in parameters(query, &["reason", "since", "until", "limit", "cursor"], &[])? {
        take_refused(&mut page, name, &value).map_err(|problem| bad(format!("`{name}` {problem}")))?;
    }
    Ok(page)
}

fn take_refused(page: &mut RefusedPage, name: &str, value: &str) -> Result<(), String> {
    match name {
        "reason" => {
            let reason = RejectReason::parse(value);
            page.filter.reason = Some(reason.ok_or_else(|| format!("is none: use one of {}", reasons()))?);
        }
        "since" => page.filter.since = Some(time(value)?),
        "until" => page.filter.until = Some(time(value)?),
        "limit" => page.limit = limit(value)?,
        _ => page.cursor = Some(value.to_owned()),
    }
    Ok(())
}

/// Limit and cursor of a list without filters.
pub(super) fn plain_page(query: &str) -> Result<(u32, Option<String>), Problem> {
    let (mut most, mut cursor) = (LIMIT, None);
    for (name, value) in parameters(query, &["limit", "cursor"], &[])? {
        match name {
            "limit" => most = limit(&value).map_err(|problem| bad(format!("`limit` {problem}")))?,
            _ => cursor = Some(value),
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
    limit.ok_or(format!("is no number of rows: write 1 to {MAX_LIMIT}"))
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

    #[test]
    fn no_list_takes_a_parameter_twice_or_one_that_it_does_not_know() {
        for query in ["limit=1&limit=2", "cursor=1&cursor=1", "sort=id", "cursor=%00"] {
            assert!(page(query).is_err() && replay_page(query).is_err(), "{query}");
            assert!(refused_page(query).is_err() && plain_page(query).is_err(), "{query}");
        }
        assert!(refused_page("reason=bad_json&reason=nul").is_err());
        assert!(replay_page("result=sent&result=failed").is_err());
    }
}
