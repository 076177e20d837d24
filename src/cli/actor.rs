//! Who runs a command, as it is recorded in `operations`.

/// The system's user; behind sudo the one who called it.
pub(super) fn name() -> String {
    let named = |variable: &&str| std::env::var(variable).ok().filter(|name| !name.trim().is_empty());
    ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(named).unwrap_or_else(|| "unknown".into())
}
