//! Who types: `operations.actor` on the command line.

use std::os::unix::fs::MetadataExt;

use crate::domain::privacy::without_numbers;
use crate::store::operate::{Operator, Via};

/// The system's user, by the process' user id: an environment variable could say anything. Who became root
/// by sudo stands beside it, as sudo says. Numbers in the reason are masked: viewers read it.
pub(super) fn operator(reason: Option<String>) -> Operator {
    let reason = reason.as_deref().map(without_numbers);
    Operator { actor: user(std::env::var("SUDO_USER").ok()), via: Via::Cli, reason }
}

fn user(sudo: Option<String>) -> String {
    let Ok(uid) = std::fs::metadata("/proc/self").map(|own| own.uid()) else { return "unknown".into() };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(uid, &users).map_or_else(|| format!("uid {uid}"), str::to_owned);
    match sudo {
        Some(behind) if uid == 0 && !behind.is_empty() => format!("{name} (sudo: {behind})"),
        _ => name,
    }
}

/// The name of a user id in the words of passwd(5).
fn name_of(uid: u32, users: &str) -> Option<&str> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_a_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\nsms:x:1000:1000::/:/bin/sh\n";
        assert_eq!((name_of(0, users), name_of(1000, users), name_of(7, users)), (Some("root"), Some("sms"), None));
        assert!(!user(None).is_empty());
    }
}
