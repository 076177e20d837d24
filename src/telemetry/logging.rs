//! Log lines on stderr: for people, or JSON for machines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Libraries whose info and debug lines are about themselves.
const NOISY: [&str; 7] = ["lapin", "async_rs", "sqlx", "hyper", "hyper_util", "reqwest", "rustls"];

/// Changes the filter of the running subscriber.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Sends log lines of `level` and above to stderr from now on. `level` is what `log.level` takes: a
/// level, or directives such as `info,dispatcher=debug`. The libraries below stay at `warn` unless a
/// directive names them. A second call in one process does nothing.
///
/// # Errors
/// When `level` is neither.
pub fn init(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives(level))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error only says that there already is a subscriber: a second daemon in one test process.
    match format {
        LogFormat::Pretty => {
            let lines = lines.compact().with_ansi(wants_colour()).with_filter_reloading();
            let handle = lines.reload_handle();
            if lines.try_init().is_ok() {
                let _ = SET_FILTER.set(Box::new(move |filter| handle.reload(filter)));
            }
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false).with_filter_reloading();
            let handle = lines.reload_handle();
            if lines.try_init().is_ok() {
                let _ = SET_FILTER.set(Box::new(move |filter| handle.reload(filter)));
            }
        }
    }
    Ok(())
}

/// Changes what is logged from now on; `level` is as in [`init`]. Does nothing before it.
///
/// # Errors
/// When `level` is neither a level nor directives.
pub fn set_level(level: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(directives(level))?;
    if let Some(set) = SET_FILTER.get() {
        set(filter)?;
    }
    Ok(())
}

/// <https://no-color.org>
fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `level` with the libraries' caps in front, where a directive of the user's replaces them.
fn directives(level: &str) -> String {
    let chatty = |word: &str| ["info", "debug", "trace"].iter().any(|name| name.eq_ignore_ascii_case(word.trim()));
    if !level.split(',').any(chatty) {
        return level.to_owned();
    }
    let caps: Vec<String> = NOISY.iter().map(|target| format!("{target}=warn")).collect();
    format!("{},{level}", caps.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(level: &str) -> Vec<String> {
        let text = EnvFilter::try_new(directives(level)).unwrap().to_string();
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn libraries_are_capped_at_warn() {
        let filter = filter("debug");
        assert!(filter.contains(&"debug".into()) && filter.contains(&"lapin=warn".into()), "{filter:?}");
    }

    #[test]
    fn a_library_that_is_named_is_not_capped() {
        let filter = filter("info,lapin=trace");
        assert!(filter.contains(&"lapin=trace".into()) && !filter.contains(&"lapin=warn".into()), "{filter:?}");
        assert!(filter.contains(&"sqlx=warn".into()), "{filter:?}");
    }

    #[test]
    fn a_quiet_level_is_not_raised() {
        assert_eq!(filter("error"), ["error"]);
        assert_eq!(filter("off"), ["off"]);
        assert_eq!(filter("dispatcher=debug"), ["dispatcher=debug"]);
    }
}
