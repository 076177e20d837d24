//! What is wrong with a configuration, in words that say how to mend it. A secret's value is never
//! part of a problem.

use std::fmt;

/// Everything that is wrong with a configuration, in the order it was found. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` where nothing is wrong.
    pub(super) fn of(problems: Vec<Problem>) -> Option<Problems> {
        (!problems.is_empty()).then_some(Problems(problems))
    }

    /// The same, behind another.
    pub(super) fn begin_with(mut self, problem: Problem) -> Problems {
        self.0.insert(0, problem);
        self
    }

    /// Each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems(vec![problem])
    }
}

/// A line a problem.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One problem: `dispatcher.toml: accounts.main.rate: 100 is no rate: write …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stands: the file's name, or the environment variable's.
    pub origin: String,
    /// The key's full path, such as `accounts.main.rate`; empty where the file as a whole is meant.
    pub path: String,
    /// The value's problem and the cure.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.path.as_str() {
            "" => format!("{}: {}", self.origin, self.text),
            path => format!("{}: {path}: {}", self.origin, self.text),
        };
        // A value may hold a line break; a problem stays one line.
        line.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => write!(f, "{c}"),
        })
    }
}

/// The known word nearest to `word`, if it is near enough to have been meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    // Two letters that changed places count two.
    let allowed = ((word.chars().count() + 1) / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance: insertions, deletions and substitutions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_only_when_near() {
        let known = ["submit_url", "balance_url", "timeout", "url", "max"];
        for (typed, meant) in [
            ("sumbit_url", Some("submit_url")),
            ("Timeout", Some("timeout")),
            ("submit-url", Some("submit_url")),
            ("time_out", Some("timeout")),
            ("uri", Some("url")),
            ("mxa", None),
            ("tmieout", Some("timeout")),
            ("frequency", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let problem =
            |path: &str, text: &str| Problem { origin: "a.toml".into(), path: path.into(), text: text.into() };
        let problems = Problems::of(vec![problem("log.level", "`a\nb` is no level"), problem("", "is empty")]).unwrap();
        assert_eq!(problems.to_string(), "a.toml: log.level: `a\\nb` is no level\na.toml: is empty");
        assert_eq!(Problems::of(Vec::new()), None);
    }
}
