//! What people and programs look up: lists, page by page, and single rows with all about them.
//!
//! Lists are sorted by the time of the last change, newest first. A page ends with a [`Cursor`] that
//! the next one begins behind, so that rows which change meanwhile neither repeat nor push others out.

mod accounts;
mod dossier;
mod feedback;
pub(super) mod filter;
mod jobs;
mod rejections;

use std::fmt;
use std::str::FromStr;

use chrono::Datelike;
use sqlx::{Postgres, QueryBuilder};

use crate::domain::job::Timestamp;

pub use accounts::AccountInfo;
pub use dossier::{Ahead, Deed, Dossier, JobReplay};
pub use feedback::{ReceiptFilter, ReceiptInfo, ReplyInfo, SuppressionInfo};
pub use jobs::{AttemptInfo, JobFilter, JobInfo};
pub use rejections::{RejectionFilter, RejectionInfo, RejectionSummary};

/// The most rows of one page.
pub const MAX_PAGE: u32 = 1_000;

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// From one row more than asked for, if there is one.
    fn of(mut rows: Vec<T>, limit: u32, key: impl Fn(&T) -> Cursor) -> Self {
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(key);
        Page { rows, next }
    }
}

/// The last row of a page. As text it is opaque to whoever passes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: Timestamp,
    id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.at.timestamp_micros())?;
        self.id.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The years of times that Postgres, too, can take.
const YEARS: std::ops::Range<i32> = 1970..10_000;

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor: pass one that an earlier page gave")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (at, id) = text.split_at_checked(16).ok_or(BadCursor)?;
        let at = u64::from_str_radix(at, 16).map_err(|_| BadCursor)?.cast_signed();
        let at = Timestamp::from_timestamp_micros(at).filter(|at| YEARS.contains(&at.year())).ok_or(BadCursor)?;
        let id = id.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        let id = String::from_utf8(id.collect::<Option<_>>().ok_or(BadCursor)?).map_err(|_| BadCursor)?;
        // Postgres cannot take a NUL.
        if id.contains('\0') { Err(BadCursor) } else { Ok(Cursor { at, id }) }
    }
}

/// The conditions and the end of a list that is sorted by `time` and the number of its rows. What is not asked for
/// must not stand in the text: plans are made without looking at values, and `$1 is null or …` uses no index.
fn push_page(
    sql: &mut QueryBuilder<Postgres>,
    time: &str,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    cursor: Option<&Cursor>,
    limit: u32,
) {
    if let Some(since) = since {
        sql.push(" and ").push(time).push(" >= ").push_bind(since);
    }
    if let Some(until) = until {
        sql.push(" and ").push(time).push(" < ").push_bind(until);
    }
    if let Some(cursor) = cursor {
        // One that was made of another list names no row: nothing is before it.
        let id: i64 = cursor.id.parse().unwrap_or(0);
        sql.push(" and (").push(time).push(", id) < (").push_bind(cursor.at).push(", ").push_bind(id).push(")");
    }
    sql.push(format!(" order by {time} desc, id desc limit {}", limit + 1));
}

/// At least one row, at most [`MAX_PAGE`].
fn clamp(limit: u32) -> u32 {
    limit.clamp(1, MAX_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let at = "2026-11-23T08:00:00.123456Z".parse().unwrap();
        for id in ["order-1", "a b~", "7", ""] {
            let cursor = Cursor { at, id: id.into() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor), "{id}");
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = Cursor { at: "2026-11-23T08:00:00Z".parse().unwrap(), id: "x".into() }.to_string();
        for bad in ["", "x", &good[..15], &good[..17], &format!("{good}zz"), &format!("{good}00"), "ééééééééééééé"]
        {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
        for time in ["7fffffffffffffff", "a000000000000000", "0fffffffffffffff"] {
            assert!(time.parse::<Cursor>().is_err(), "{time}: no such time");
        }
    }

    #[test]
    fn a_page_knows_whether_there_is_more() {
        let key = |n: &u32| Cursor { at: Timestamp::UNIX_EPOCH, id: n.to_string() };
        let page = Page::of(vec![1, 2, 3], 2, key);
        assert_eq!((page.rows, page.next.map(|cursor| cursor.id)), (vec![1, 2], Some("2".into())));
        assert_eq!(Page::of(vec![1, 2], 2, key).next, None);
        assert_eq!(Page::of(vec![], 2, key).next, None);
    }
}
