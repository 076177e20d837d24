//! The fields of a push, by name, before they mean anything.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

/// Names and values as pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

/// What is wrong with a push: its words hold no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct BadField {
    /// The field.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Fields {
    /// Of several values of one name the first that is not blank counts. Postgres cannot hold a NUL:
    /// it becomes `�`.
    pub fn of(pairs: impl Iterator<Item = (String, String)>) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs.filter(|(_, value)| !value.trim().is_empty()) {
            fields.entry(name).or_insert_with(|| value.replace('\0', "\u{fffd}"));
        }
        Fields(fields)
    }

    /// The value without the white space around it; `None` where that leaves nothing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }
}

/// MD5 over values in this order, so that neither a missing one nor where one ends is lost.
pub(super) fn digest<const N: usize>(values: [Option<&str>; N]) -> [u8; 16] {
    let mut hash = Md5::new();
    for value in values {
        let length = value.map_or(u64::MAX, |value| value.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(value.unwrap_or_default());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_not_blank_counts() {
        let pairs = [("a", " "), ("a", " 1 "), ("a", "2"), ("b", "\0"), ("c", "")];
        let fields = Fields::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), (Some("1"), Some("\u{fffd}"), None));
    }

    #[test]
    fn a_missing_value_is_no_empty_one() {
        assert_ne!(digest([None, Some("")]), digest([Some(""), None]));
    }
}
