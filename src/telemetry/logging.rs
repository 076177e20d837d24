//! Log lines on stderr: for people, or JSON for machines.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use super::journal::Stderr;
use crate::config::LogFormat;

/// Libraries whose info and debug lines are about themselves.
const NOISY: [&str; 7] = ["lapin", "async_rs", "sqlx", "hyper", "hyper_util", "reqwest", "rustls"];

/// Its lines below `info` hold whole frames: full numbers, and texts. No directive lets them out.
const TELLTALE: &str = "lapin";

/// Changes the filter of the running subscriber.
type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Sends log lines of `level` and above to stderr from now on. `level` is what `log.level` takes: a
/// level, or directives such as `info,dispatcher=debug`. The libraries above stay at `warn` unless a
/// directive names them, and the RabbitMQ client at `info` also then. A second call in one process does nothing.
///
/// # Errors
/// When `level` is neither.
pub fn init(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr::of_this_process());
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
    let filter = filter(level)?;
    if let Some(set) = SET_FILTER.get() {
        set(filter)?;
    }
    Ok(())
}

/// <https://no-color.org>
fn wants_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::try_new(directives(level))?)
}

/// `level` with the libraries' caps in front, where a directive of the user's replaces them.
fn directives(level: &str) -> String {
    let chatty = |word: &str| ["info", "debug", "trace"].iter().any(|name| name.eq_ignore_ascii_case(word.trim()));
    if !level.split(',').any(chatty) {
        return level.to_owned();
    }
    let caps = NOISY.iter().map(|target| format!("{target}=warn"));
    caps.chain(level.split(',').map(discreet)).collect::<Vec<_>>().join(",")
}

/// A directive that would let out what [`TELLTALE`] says, as one that does not.
fn discreet(directive: &str) -> String {
    let (target, level) = directive.rsplit_once('=').unwrap_or((directive, ""));
    let of_it = target.trim().starts_with(TELLTALE);
    let quiet = ["off", "error", "warn", "info"].iter().any(|name| name.eq_ignore_ascii_case(level.trim()));
    if of_it && !quiet { format!("{TELLTALE}=info") } else { directive.to_owned() }
}

#[cfg(test)]
mod tests {
    fn filter(level: &str) -> Vec<String> {
        let text = super::filter(level).unwrap().to_string();
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn libraries_are_capped_at_warn() {
        let filter = filter("debug");
        assert!(filter.contains(&"debug".into()) && filter.contains(&"lapin=warn".into()), "{filter:?}");
    }

    #[test]
    fn a_library_that_is_named_is_not_capped() {
        let filter = filter("info,sqlx=trace");
        assert!(filter.contains(&"sqlx=trace".into()) && !filter.contains(&"sqlx=warn".into()), "{filter:?}");
        assert!(filter.contains(&"hyper=warn".into()), "{filter:?}");
    }

    #[test]
    fn frames_are_never_logged() {
        for telltale in ["lapin=trace", "lapin=debug", "lapin", "lapin::channels=trace", "lapin[span]=trace", "lapin=5"]
        {
            let filter = filter(&format!("info,{telltale}"));
            let loud = |directive: &&String| directive.contains("trace") || directive.contains("debug");
            assert_eq!(filter.iter().find(loud), None, "{telltale}: {filter:?}");
        }
        assert!(filter("info,lapin=error").contains(&"lapin=error".into()));
    }

    #[test]
    fn a_quiet_level_is_not_raised() {
        assert_eq!(filter("error"), ["error"]);
        assert_eq!(filter("off"), ["off"]);
        assert_eq!(filter("dispatcher=debug"), ["dispatcher=debug"]);
    }
}
