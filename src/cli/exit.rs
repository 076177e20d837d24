//! How a command ends: 0 done, 1 failed, 2 wrong usage or configuration. An error is printed here,
//! once, on stderr.

use std::io;
use std::process::ExitCode;

use crate::config::Problems;

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

/// The flags contradict each other or hold a bad value, in a way that only the command can see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// The command failed and has said all about it already.
#[derive(Debug, thiserror::Error)]
pub enum Reported {
    /// Exit 1.
    #[error("the command failed")]
    Failed,
    /// Exit 2.
    #[error("the configuration is wrong")]
    WrongConfiguration,
}

/// Prints `error` unless it has been printed, and gives its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    for line in lines(error) {
        eprintln!("{line}");
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if is_closed_pipe(error) {
        return 0;
    }
    let is_wrong_usage = error.is::<Problems>()
        || error.is::<WrongUsage>()
        || matches!(error.downcast_ref(), Some(Reported::WrongConfiguration));
    if is_wrong_usage { WRONG_USAGE } else { FAILED }
}

fn lines(error: &anyhow::Error) -> Vec<String> {
    if error.is::<Reported>() || is_closed_pipe(error) {
        return Vec::new();
    }
    match error.downcast_ref::<Problems>() {
        Some(problems) => problems.iter().map(|problem| format!("error: {problem}")).collect(),
        None => vec![format!("error: {error:#}")],
    }
}

/// Whoever read our output has seen enough, as in `dispatcher jobs list | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn wrong_usage_is_2_and_a_failure_1() {
        assert_eq!(code(&anyhow::anyhow!("no")), 1);
        assert_eq!(code(&WrongUsage("no".into()).into()), 2);
        assert_eq!(code(&Reported::Failed.into()), 1);
        assert_eq!(code(&Reported::WrongConfiguration.into()), 2);
        let problems = crate::config::load(
            None,
            [("DISPATCHER__NO".into(), "1".into())].into_iter(),
            crate::config::Needs::NoSecrets,
        );
        assert_eq!(code(&problems.unwrap_err().into()), 2);
    }

    #[test]
    fn a_chain_is_one_line_and_what_was_reported_none() {
        let error = Err::<(), _>(anyhow::anyhow!("refused")).context("Postgres").unwrap_err();
        assert_eq!(lines(&error), ["error: Postgres: refused"]);
        assert!(lines(&Reported::Failed.into()).is_empty());
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((code(&error), lines(&error).len()), (0, 0));
    }
}
