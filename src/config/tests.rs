//! The configuration as a whole: values and their problems, the sample, secrets.

mod cases;
mod sample;
mod secrets;

use std::io::Write;

use tempfile::NamedTempFile;

use super::{Config, Needs, load};

/// The least that `run` needs, in dotted keys so that a test can add to any table.
const MINIMAL: &str = r#"
rabbitmq.url = "amqp://guest:guest@127.0.0.1:5672/%2f"
postgres.url = "postgres://sms:pw@127.0.0.1/sms"
accounts.main.api_id = "C00000000"
accounts.main.api_key = "minimal-key"
"#;

/// A file with that content; it is gone when dropped.
fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Loads `text` as a file, which the problems call `file`.
fn load_text(text: &str, env: &[(&str, &str)], needs: Needs) -> Result<Config, Vec<String>> {
    let file = file(text);
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    load(Some(file.path()), env, needs).map_err(|problems| {
        let text = problems.to_string().replace(&file.path().display().to_string(), "file");
        text.lines().map(str::to_owned).collect()
    })
}

/// [`MINIMAL`] and `more`; a key of `more` replaces the same key of [`MINIMAL`].
fn with(more: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap().trim().to_owned();
    let replaced: Vec<String> = more.lines().map(key).collect();
    let kept = MINIMAL.lines().filter(|line| !line.is_empty() && !replaced.contains(&key(line)));
    kept.chain(more.lines()).map(|line| format!("{line}\n")).collect()
}

fn loaded(more: &str, env: &[(&str, &str)]) -> Config {
    load_text(&with(more), env, Needs::Secrets).unwrap_or_else(|problems| panic!("{more} {env:?}: {problems:?}"))
}

fn problems(more: &str, env: &[(&str, &str)]) -> Vec<String> {
    load_text(&with(more), env, Needs::Secrets).err().unwrap_or_default()
}

/// The only problem.
fn problem(more: &str, env: &[(&str, &str)]) -> String {
    let mut found = problems(more, env);
    assert_eq!(found.len(), 1, "{more} {env:?}: {found:?}");
    found.remove(0)
}
