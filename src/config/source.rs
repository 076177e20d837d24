//! Where values stand as typed: a TOML file, with the environment laid over it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ::config::{Config, ConfigError, Environment, File, FileFormat, Map, Value, ValueKind};

use super::problem::{Problem, Problems};

/// Read where no file is named, if it is there.
const DEFAULT_FILE: &str = "dispatcher.toml";
/// Begins every variable of ours. Two underscores, because Kubernetes sets `DISPATCHER_PORT` and the
/// like in every pod beside a service called `dispatcher`.
const PREFIX: &str = "DISPATCHER__";
/// Between the parts of a variable's name.
const SEPARATOR: &str = "__";

/// Where a value is missed that no variable sets, when there is no file.
const NOWHERE: &str = "environment";

/// The merged tree, as typed.
pub(super) struct Source {
    /// A table: the file's, with the environment's values over it.
    pub root: Value,
    /// Which value stands where.
    pub origins: Origins,
}

/// Tells for each path where its value stands.
pub(super) struct Origins {
    file: Option<PathBuf>,
    /// Path to the name of the variable that sets it.
    variables: BTreeMap<String, String>,
}

impl Origins {
    /// Nobody named a file, and there is none of the usual name.
    pub fn is_without_file(&self) -> bool {
        self.file.is_none()
    }

    /// The variable that sets the value at `path`, else the file; `environment` where there is none.
    pub fn of(&self, path: &str) -> String {
        match (self.variables.get(path), &self.file) {
            (Some(variable), _) => variable.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => NOWHERE.into(),
        }
    }

    /// Like [`Origins::of`], but for a whole table: a variable, where variables alone made it.
    pub fn of_tree(&self, path: &str, value: &Value) -> String {
        let below = format!("{path}.");
        let variable = self.variables.range(below.clone()..).next().filter(|(key, _)| key.starts_with(&below));
        match variable {
            Some((_, variable)) if !self.variables.contains_key(path) && is_from_environment(value) => variable.clone(),
            _ => self.of(path),
        }
    }

    /// The folder that a relative path at `path` starts from: that of the configuration file where
    /// the path stands there, else the working directory.
    pub fn folder_of(&self, path: &str) -> PathBuf {
        match &self.file {
            Some(file) if !self.variables.contains_key(path) => file.parent().map(Path::to_owned).unwrap_or_default(),
            _ => PathBuf::new(),
        }
    }
}

/// The variable that sets the key at `path`.
pub(super) fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', SEPARATOR))
}

/// Reads and merges. What is found wrong with the variables' names is added to `problems`.
///
/// # Errors
/// The file cannot be read or is no TOML: nothing more can be said then.
pub(super) fn read(
    path: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Result<Source, Problem> {
    let file = read_file(path, Path::new(DEFAULT_FILE))?;
    let ours = ours(env, problems);
    let values: Map<String, String> = ours.values().map(|(name, value)| (name.clone(), value.clone())).collect();
    let environment = Environment::with_prefix(PREFIX.trim_end_matches(SEPARATOR))
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(values));
    let mut builder = Config::builder();
    if let Some((_, text)) = &file {
        builder = builder.add_source(File::from_str(text, FileFormat::Toml));
    }
    let file = file.map(|(path, _)| path);
    let variables = ours.into_iter().map(|(path, (name, _))| (path, name)).collect();
    let origins = Origins { file, variables };
    match builder.add_source(environment).build() {
        Ok(merged) => Ok(Source { root: merged.cache, origins }),
        Err(error) => Err(Problem { origin: origins.of(""), path: String::new(), text: syntax(&error) }),
    }
}

/// Where values are missing, it helps to know first that there is no file.
pub(super) fn name_the_file(problems: Problems) -> Problems {
    if problems.iter().all(|problem| problem.origin != NOWHERE) {
        return problems;
    }
    let folder = std::env::current_dir().map_or_else(|_| "this folder".into(), |folder| folder.display().to_string());
    let origin = format!("there is no {DEFAULT_FILE} in {folder}");
    let text = "name it with `--config FILE`, or set everything by the environment".into();
    problems.begin_with(Problem { origin, path: String::new(), text })
}

/// The file's path and text; `None` where none is named and the `default` one is not there.
fn read_file(path: Option<&Path>, default: &Path) -> Result<Option<(PathBuf, String)>, Problem> {
    let file = path.unwrap_or(default);
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some((file.to_owned(), text))),
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem {
            origin: file.display().to_string(),
            path: String::new(),
            text: format!("cannot be read: {error}: name a readable file with --config"),
        }),
    }
}

/// Our variables: path to name and value. A name that cannot be a path, or that contradicts another,
/// is a problem and left out.
fn ours(
    env: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, (String, String)> {
    let mut sorted: Vec<_> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    sorted.sort();
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (name, value) in sorted {
        let refused = match path_of(&name) {
            None => format!("names no key: write {PREFIX}TABLE{SEPARATOR}KEY, such as {}", variable_of("postgres.url")),
            Some(path) => match clash(&found, &path) {
                None => {
                    found.insert(path, (name, value));
                    continue;
                }
                Some(other) => format!("contradicts {other}: unset one of the two"),
            },
        };
        problems.push(Problem { origin: name, path: String::new(), text: refused });
    }
    found
}

/// `DISPATCHER__ACCOUNTS__MAIN__RATE` is `accounts.main.rate`.
fn path_of(name: &str) -> Option<String> {
    let parts: Vec<String> = name.strip_prefix(PREFIX)?.split(SEPARATOR).map(str::to_lowercase).collect();
    let plain = |part: &String| !part.is_empty() && part.chars().all(is_key_char);
    parts.iter().all(plain).then(|| parts.join("."))
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'
}

/// The variable already `found` for the same path, or for one that makes a table of a value.
fn clash(found: &BTreeMap<String, (String, String)>, path: &str) -> Option<String> {
    let inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    let clashes = |other: &str| other == path || inside(path, other) || inside(other, path);
    found.iter().find(|(other, _)| clashes(other)).map(|(_, (name, _))| name.clone())
}

/// True where no part of `value` stands in the file.
fn is_from_environment(value: &Value) -> bool {
    match &value.kind {
        ValueKind::Table(table) => table.values().all(is_from_environment),
        _ => value.origin() == Some("the environment"),
    }
}

/// Position and message of a TOML error, without the line itself: it may hold a secret.
fn syntax(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return "is no valid TOML".into();
    };
    let text = cause.to_string();
    let mut lines = text.lines();
    match lines.next().unwrap_or_default().strip_prefix("TOML parse error at ") {
        // Three lines draw the place; the rest is the message.
        Some(place) => format!("{place}: no valid TOML: {}", lines.skip(3).collect::<Vec<_>>().join(": ")),
        None => format!("no valid TOML: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut problems = Vec::new();
        let env = names.iter().map(|name| (name.to_string(), "v".to_string()));
        let found = ours(env, &mut problems).into_keys().collect();
        (found, problems.into_iter().map(|problem| problem.to_string()).collect())
    }

    #[test]
    fn the_default_file_may_be_missing_and_a_named_one_may_not() {
        let missing = Path::new("/nowhere/dispatcher.toml");
        assert_eq!(read_file(None, missing), Ok(None));
        assert!(read_file(Some(missing), missing).is_err());
        assert!(read_file(None, Path::new(DEFAULT_FILE)).unwrap().is_some_and(|(_, text)| text.contains("[rabbitmq]")));
    }

    #[test]
    fn without_a_file_a_problem_names_the_environment() {
        let origins = Origins { file: None, variables: [("log.level".into(), "DISPATCHER__LOG__LEVEL".into())].into() };
        assert_eq!(origins.of("log.level"), "DISPATCHER__LOG__LEVEL");
        assert_eq!(origins.of("postgres.url"), "environment");
        assert_eq!(origins.folder_of("postgres.url_file"), PathBuf::new());
    }

    #[test]
    fn variables_become_paths() {
        let (found, problems) = paths(&[
            "DISPATCHER__POSTGRES__URL",
            "DISPATCHER__ACCOUNTS__SHOP-2__API_KEY",
            "DISPATCHER__CODES__4082",
            "DISPATCHER_PORT",
            "DISPATCHER_PORT_9464_TCP_ADDR",
            "DISPATCHER",
            "PATH",
        ]);
        assert_eq!(found, ["accounts.shop-2.api_key", "codes.4082", "postgres.url"]);
        assert_eq!(problems, [""; 0]);
        assert_eq!(variable_of("accounts.shop-2.api_key"), "DISPATCHER__ACCOUNTS__SHOP-2__API_KEY");
    }

    #[test]
    fn names_that_cannot_be_keys_are_problems() {
        for name in
            ["DISPATCHER__", "DISPATCHER____URL", "DISPATCHER__LOG__", "DISPATCHER__A[99999999999]", "DISPATCHER__日"]
        {
            let (found, problems) = paths(&[name]);
            assert_eq!(found, [""; 0], "{name}");
            assert!(problems[0].contains("names no key"), "{problems:?}");
        }
    }

    #[test]
    fn contradictions_are_problems_whatever_the_order() {
        for (first, second) in [
            ("DISPATCHER__LOG", "DISPATCHER__LOG__LEVEL"),
            ("DISPATCHER__LOG__LEVEL__X", "DISPATCHER__LOG__LEVEL"),
            ("DISPATCHER__LOG__LEVEL", "DISPATCHER__LOG__level"),
        ] {
            for names in [[first, second], [second, first]] {
                let (found, problems) = paths(&names);
                assert_eq!((found.len(), problems.len()), (1, 1), "{names:?}");
                assert!(problems[0].contains("unset one of the two"), "{problems:?}");
            }
        }
        assert_eq!(paths(&["DISPATCHER__LOG__LEVEL", "DISPATCHER__LOG__LEVEL_2"]).1, [""; 0]);
    }
}
