//! What a configuration was made of, to tell key by key what another one changes. No value is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use ::config::{Value, ValueKind};
use secrecy::ExposeSecret;

use super::Account;

/// Each key that was written, by its full path, with a fingerprint of its value.
#[derive(Clone, Default)]
pub(super) struct Written(BTreeMap<String, u64>);

/// A fingerprint of a short secret could be guessed.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

impl Written {
    /// Of the tree, file and environment merged.
    pub fn of(root: &Value) -> Written {
        let mut written = Written::default();
        written.add(String::new(), root);
        written
    }

    /// Keys that stand in files of their own may change although the name of the file does not.
    pub fn with_keys(mut self, accounts: &BTreeMap<String, Account>) -> Written {
        for (name, account) in accounts {
            let key = account.api_key.as_ref().map(|key| fingerprint(key.expose_secret()));
            self.0.extend(key.map(|key| (format!("accounts.{name}.api_key"), key)));
        }
        self
    }

    /// The keys that were added, removed or changed, in order.
    pub fn changed(&self, new: &Written) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(new.0.keys()).collect();
        keys.into_iter().filter(|key| self.0.get(*key) != new.0.get(*key)).cloned().collect()
    }

    fn add(&mut self, path: String, value: &Value) {
        let ValueKind::Table(table) = &value.kind else {
            self.0.insert(path, fingerprint(&value.to_string()));
            return;
        };
        for (key, value) in table {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.add(inner, value);
        }
    }
}

fn fingerprint(value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
