//! `dispatcher forget`: erases a person's number and texts.

use std::io::{BufRead, IsTerminal, stdin};

use clap::Args;
use serde_json::json;

use super::exit::Reported;
use super::{connect, output, who};
use crate::config::Config;
use crate::domain::mobile::Mobile;
use crate::store::operate::{Forgetting, Forgotten, Unsettled};

const EXAMPLES: &str = "\
Examples:
  dispatcher forget 13800138000 --dry-run
  dispatcher forget 13800138000 --reason 'asked by mail, ticket 77'

On a terminal it asks first, unless --yes or --json is given; a script is not asked. Number, texts, variables and metadata are erased in every table; states, codes and times stay, so
that counts add up, and so does what makes a repeat of a job be known: it is not sent. Jobs that are
not settled stand in the way: cancel or resolve them first. Kept is a number in the list of those
who want no messages: it would get some again. Not reached are job ids, texts to others, and messages
still in RabbitMQ.";

/// Erases a person's number and texts in every table.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ForgetArgs {
    /// The person's number
    #[arg(value_parser = parse_mobile)]
    mobile: Mobile,
    /// Do not ask on a terminal either
    #[arg(long)]
    yes: bool,
    /// Count the rows and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn parse_mobile(text: &str) -> Result<Mobile, String> {
    Mobile::parse_any(text).map_err(|problem| format!("it {problem}"))
}

/// Runs the command.
///
/// # Errors
/// When Postgres does not answer, jobs of the person are not settled, or nobody confirms.
pub(super) async fn run(args: ForgetArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    // Where nobody could answer, nobody is asked: whoever wrote the script has named the number.
    let asks = !args.yes && !as_json && stdin().is_terminal();
    let store = connect::migrated_store(config).await?;
    let by = who::operator(args.reason);
    if args.dry_run || asks {
        let rehearsed = store.forget(&by, args.mobile, true).await?;
        let rows = told(rehearsed, args.mobile, false, as_json)?;
        if args.dry_run || rows == 0 {
            return Ok(());
        }
        confirm(args.mobile, stdin().lock())?;
    }
    told(store.forget(&by, args.mobile, false).await?, args.mobile, true, as_json).map(drop)
}

/// Prints what came of it: the rows.
fn told(what: Forgetting, mobile: Mobile, done: bool, as_json: bool) -> anyhow::Result<u64> {
    match (what, as_json) {
        (Forgetting::Done(rows), true) => {
            output::json(&json!({ "mobile": mobile.to_string(), "forgotten": done, "rows": rows }))?;
            Ok(rows.rows())
        }
        (Forgetting::Done(rows), false) => {
            output::line(&page(&rows, mobile, done))?;
            Ok(rows.rows())
        }
        (Forgetting::Unsettled(jobs), true) => {
            output::json(&json!({ "mobile": mobile.to_string(), "forgotten": false, "unsettled": jobs }))?;
            Err(Reported::Failed.into())
        }
        (Forgetting::Unsettled(jobs), false) => anyhow::bail!("{}", in_the_way(&jobs, mobile)),
    }
}

fn page(rows: &Forgotten, mobile: Mobile, done: bool) -> String {
    let Forgotten { jobs, attempts, receipts, replies, rejections, events, operations } = rows;
    let counts = [
        ("jobs", jobs),
        ("attempts", attempts),
        ("receipts", receipts),
        ("replies", replies),
        ("rejections", rejections),
        ("events", events),
        ("operations", operations),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(_, rows)| **rows > 0).map(|(table, rows)| format!("  {table:<10} {rows}")).collect();
    match (counts.is_empty(), done) {
        (true, _) => format!("nothing is known of {mobile}"),
        (false, true) => format!("{mobile} is forgotten; rows changed:\n{}", counts.join("\n")),
        (false, false) => format!("of {mobile} would be erased, in rows:\n{}", counts.join("\n")),
    }
}

/// What must happen first, job by job.
fn in_the_way(jobs: &[Unsettled], mobile: Mobile) -> String {
    let lines = jobs.iter().map(|job| {
        let cure = match job.state.as_str() {
            "waiting" | "queued" => "dispatcher jobs cancel",
            "in_doubt" => "dispatcher jobs resolve --sent, or --not-sent,",
            _ => "wait, it is with the gateway; dispatcher jobs show",
        };
        format!("\n  {} is {}: {cure} {}", job.id, job.state, job.id)
    });
    format!("nothing was erased: jobs to {mobile} are not settled:{}", lines.collect::<String>())
}

/// Asks; anything but a yes is a failure, so that whoever waits for the command does not take the person for forgotten.
fn confirm(mobile: Mobile, mut answers: impl BufRead) -> anyhow::Result<()> {
    eprint!("This cannot be undone. Erase {mobile}? Type yes: ");
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    anyhow::ensure!(answer.trim() == "yes", "nothing was erased");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_erases_and_anything_else_is_a_failure() {
        let mobile = Mobile::parse("13900000001").unwrap();
        assert!(confirm(mobile, &b"yes\n"[..]).is_ok());
        for answer in ["no\n", "y\n", "\n", ""] {
            let refused = confirm(mobile, answer.as_bytes()).unwrap_err();
            assert_eq!(refused.to_string(), "nothing was erased", "{answer:?}");
        }
    }
}
