//! Which jobs, as SQL. A filter becomes one or several ranges of an index, so that a page costs the
//! same among ten million jobs as among ten: the session's plans are made once, without looking at the
//! values, so conditions that may or may not be asked for need texts of their own.
//!
//! | asked for | ranges of |
//! |---|---|
//! | ids | the primary key |
//! | a number | `jobs_mobile`, which holds what else may be asked for |
//! | state, account, code | `jobs_listed`, with a code `jobs_coded`: one for each account and state |
//! | `queued`, `submitting` | `jobs_queued`, `jobs_claimed` |
//! | nothing of these | `jobs_updated` |
//!
//! Ranges that exist are found by hops over an index: planning one costs more than reading from it.

use sqlx::{Postgres, QueryBuilder, Row};

use super::super::connect::Store;
use super::super::error::ledger_error;
use super::JobFilter;
use crate::dispatch::ports::LedgerError;
use crate::domain::codes::SUCCESS;
use crate::domain::job::State;
use crate::domain::mobile::Mobile;

/// One range of an index.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// By number or by ids, or all: other conditions are looked at row by row.
    Whole,
    /// One state, of one account where the index begins with it.
    Of(State, Option<String>),
}

/// The ranges that hold every job that a filter lets through.
#[derive(Debug)]
pub(in crate::store) struct Ranges(Vec<Range>);

impl Ranges {
    /// No job can pass.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One range, each of whose jobs passes.
    pub fn is_plain(&self, filter: &JobFilter) -> bool {
        let has_more = !filter.states.is_empty() || filter.code.is_some() || filter.account.is_some();
        match &self.0[..] {
            [Range::Whole] => !has_more,
            [Range::Of(_, account)] => account.is_some(),
            _ => false,
        }
    }
}

impl Store {
    /// The ranges for `filter`. Asks which accounts there are where it needs to know.
    pub(in crate::store) async fn ranges(&self, filter: &JobFilter) -> Result<Ranges, LedgerError> {
        let is_whole = filter.states.is_empty() && filter.code.is_none() && filter.account.is_none();
        if is_whole || filter.mobile.is_some() || !filter.ids.is_empty() {
            return Ok(Ranges(vec![Range::Whole]));
        }
        let known = match (&filter.account, filter.code) {
            (Some(account), _) => Known::accounts(vec![account.clone()]),
            (None, Some(code)) => {
                let accounts = if code == SUCCESS { self.listed_accounts().await? } else { Vec::new() };
                Known { accounts, coded: Some(self.coded(code).await?) }
            }
            (None, None) => Known::accounts(self.listed_accounts().await?),
        };
        Ok(ranges(filter, &known))
    }

    /// The accounts and states in which there are jobs of that code, of those that `jobs_coded` holds.
    async fn coded(&self, code: i64) -> Result<Vec<(String, String)>, LedgerError> {
        sqlx::query_as(
            "with recursive known as (
                 (select account, state from jobs
                  where code = $1 and state not in ('queued', 'submitting', 'accepted', 'delivered')
                  order by account, state limit 1)
                 union all
                 select next.account, next.state from known cross join lateral (
                     select account, state from jobs
                     where code = $1 and state not in ('queued', 'submitting', 'accepted', 'delivered')
                       and (account, state) > (known.account, known.state)
                     order by account, state limit 1
                 ) as next
             )
             select account, state from known",
        )
        .bind(code)
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)
    }

    /// The accounts that jobs have, by hops over the index from one to the next.
    async fn listed_accounts(&self) -> Result<Vec<String>, LedgerError> {
        let rows = sqlx::query(
            "with recursive known as (
                 select min(account) as name from jobs where state not in ('queued', 'submitting')
                 union all
                 select (select min(account) from jobs where account > known.name and state not in ('queued', 'submitting'))
                 from known where known.name is not null
             )
             select name from known where name is not null",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(ledger_error)?;
        rows.iter().map(|row| row.try_get(0).map_err(ledger_error)).collect()
    }
}

/// Where jobs may be.
struct Known {
    accounts: Vec<String>,
    /// Where a code is asked for, of no account by name: the accounts and states that have it.
    coded: Option<Vec<(String, String)>>,
}

impl Known {
    fn accounts(accounts: Vec<String>) -> Known {
        Known { accounts, coded: None }
    }

    /// The accounts that may have jobs in this state.
    fn having(&self, state: State) -> Vec<&String> {
        match (&self.coded, state) {
            (None, _) | (_, State::Accepted | State::Delivered) => self.accounts.iter().collect(),
            (Some(coded), _) => {
                coded.iter().filter(|(_, other)| other == state.as_str()).map(|(account, _)| account).collect()
            }
        }
    }
}

fn ranges(filter: &JobFilter, known: &Known) -> Ranges {
    let states = if filter.states.is_empty() { State::ALL } else { &filter.states };
    let mut found = Vec::new();
    for state in State::ALL.iter().copied().filter(|state| states.contains(state)) {
        match state {
            State::Queued | State::Submitting => found.push(Range::Of(state, None)),
            // These have the success code, and no index by any other.
            State::Accepted | State::Delivered if filter.code.is_some_and(|code| code != SUCCESS) => {}
            _ => found.extend(known.having(state).into_iter().map(|account| Range::Of(state, Some(account.clone())))),
        }
    }
    Ranges(found)
}

/// The newest first.
const NEWEST: &str = " order by updated_at desc, id desc limit ";

/// `select COLUMNS from jobs where …` for each range, all of them joined by `union all`: every job, or of each range
/// the `newest`. Without a number of its own a range would be read whole before it is sorted; and the number stands in
/// the text, because plans are made without looking at parameters.
pub(in crate::store) fn push_ranges(
    sql: &mut QueryBuilder<Postgres>,
    columns: &str,
    ranges: &Ranges,
    filter: &JobFilter,
    newest: Option<u32>,
) {
    for (index, range) in ranges.0.iter().enumerate() {
        sql.push(if index == 0 { "(select " } else { " union all (select " });
        sql.push(columns).push(" from jobs where ");
        match range {
            Range::Whole => push_whole(sql, filter),
            Range::Of(state, account) => push_of(sql, *state, account.as_deref(), filter),
        }
        push_times(sql, filter);
        if let Some(newest) = newest {
            sql.push(NEWEST).push(newest.to_string());
        }
        sql.push(")");
    }
}

/// The expressions around columns keep Postgres off the other indexes, which hold more of the table.
fn push_whole(sql: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    sql.push("true");
    if !filter.ids.is_empty() {
        sql.push(" and id = any(").push_bind(filter.ids.clone()).push(")");
    }
    if let Some(mobile) = filter.mobile {
        sql.push(" and mobile = ").push_bind(Mobile::digits(mobile));
    }
    if !filter.states.is_empty() {
        let states: Vec<&'static str> = filter.states.iter().map(|state| state.as_str()).collect();
        sql.push(" and state || '' = any(").push_bind(states).push(")");
    }
    if let Some(account) = &filter.account {
        sql.push(" and account || '' = ").push_bind(account.clone());
    }
    if let Some(code) = filter.code {
        sql.push(" and code + 0 = ").push_bind(code);
    }
}

/// The state is a word of ours, and must stand in the text: partial indexes are chosen by it.
fn push_of(sql: &mut QueryBuilder<Postgres>, state: State, account: Option<&str>, filter: &JobFilter) {
    sql.push("state = '").push(state.as_str()).push("'");
    match (account, &filter.account) {
        (Some(account), _) => {
            sql.push(" and account = ").push_bind(account.to_owned());
        }
        (None, Some(account)) => {
            sql.push(" and account || '' = ").push_bind(account.clone());
        }
        (None, None) => {}
    }
    if let Some(code) = filter.code {
        sql.push(" and code = ").push_bind(code);
    }
}

fn push_times(sql: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    if let Some(since) = filter.since {
        sql.push(" and updated_at >= ").push_bind(since);
    }
    if let Some(until) = filter.until {
        sql.push(" and updated_at < ").push_bind(until);
    }
    if let Some(cursor) = &filter.cursor {
        sql.push(" and (updated_at, id) < (").push_bind(cursor.at).push(", ").push_bind(cursor.id.clone()).push(")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(filter: &JobFilter) -> usize {
        ranges(filter, &Known::accounts(vec!["a".into(), "b".into()])).0.len()
    }

    #[test]
    fn a_range_for_each_account_and_state() {
        let failed = JobFilter { states: vec![State::Failed], ..JobFilter::default() };
        assert_eq!(count(&failed), 2);
        assert_eq!(count(&JobFilter::default()), 8 * 2 + 2);
        let twice = JobFilter { states: vec![State::Failed, State::Failed], ..JobFilter::default() };
        assert_eq!(count(&twice), 2, "no row comes twice");
    }

    #[test]
    fn of_a_code_only_the_ranges_that_have_it() {
        let known = |coded: &[(&str, State)]| Known {
            accounts: vec!["a".into(), "b".into()],
            coded: Some(coded.iter().map(|(account, state)| ((*account).into(), state.to_string())).collect()),
        };
        let coded = [("a", State::Failed), ("b", State::Failed), ("b", State::Waiting)];
        let of = |states: &[State], code| JobFilter { states: states.into(), code: Some(code), ..JobFilter::default() };
        let count = |filter: &JobFilter, coded| ranges(filter, &known(coded)).0.len();
        assert_eq!(count(&of(&[], 4030), &coded), 3 + 2, "queued and submitting besides");
        assert_eq!(count(&of(&[State::Failed], 4030), &coded), 2);
        assert_eq!(count(&of(&[State::Expired], 4030), &coded), 0);
        assert_eq!(count(&of(&[State::Accepted, State::Failed], SUCCESS), &coded[..1]), 2 + 1);
    }

    #[test]
    fn what_was_accepted_has_no_other_code() {
        let accepted = |code| JobFilter { states: vec![State::Accepted], code: Some(code), ..JobFilter::default() };
        assert_eq!((count(&accepted(2)), count(&accepted(4030))), (2, 0));
    }
}
