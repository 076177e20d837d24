//! Which jobs, as flags.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::when;
use crate::domain::job::{State, Timestamp};
use crate::domain::mobile::Mobile;
use crate::store::query::JobFilter;

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct JobFlags {
    /// In one of these states
    #[arg(long = "state", value_delimiter = ',', value_name = "STATE,…", value_parser = state_parser())]
    states: Vec<State>,
    /// With this last code of the gateway
    #[arg(long, allow_negative_numbers = true, value_parser = parse_code)]
    code: Option<i64>,
    /// Of this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// To this number
    #[arg(long, value_parser = parse_mobile)]
    mobile: Option<Mobile>,
    /// Last changed then or later
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<Timestamp>,
    /// Last changed before
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<Timestamp>,
}

impl JobFlags {
    /// None was given.
    pub fn is_empty(&self) -> bool {
        let JobFlags { states, code, account, mobile, since, until } = self;
        let others = code.is_none() && account.is_none() && mobile.is_none() && since.is_none() && until.is_none();
        states.is_empty() && others
    }

    /// As a filter for all of them.
    pub fn filter(&self) -> JobFilter {
        JobFilter {
            states: self.states.clone(),
            code: self.code,
            account: self.account.clone(),
            mobile: self.mobile,
            since: self.since,
            until: self.until,
            ..JobFilter::default()
        }
    }
}

fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.iter().map(|state| state.as_str()))
        .try_map(|word| State::parse(&word).ok_or("is no state"))
}

fn parse_code(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "it is no code: a whole number, such as 4070")
}

fn parse_mobile(text: &str) -> Result<Mobile, String> {
    Mobile::parse_any(text).map_err(|problem| format!("it {problem}"))
}
