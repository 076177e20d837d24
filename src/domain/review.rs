//! Reviews: ihuyi's word on a template that was registered by AddTemplate.

use super::fields::{BadField, Fields};
use super::message::MAX_TEMPLATE_ID;

/// The code of a template that may be used.
const APPROVED: i64 = 2;

/// A review as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// ihuyi's number of the template.
    pub id: String,
    /// 2: approved. `None` where what was pushed is no number.
    pub code: Option<i64>,
    /// ihuyi's words: why it was refused.
    pub message: Option<String>,
}

impl Review {
    /// Reads a push: `code`, `msg`, `templateid`.
    ///
    /// # Errors
    /// Without a templateid: nobody could tell what was reviewed.
    pub fn read(fields: &Fields) -> Result<Self, BadField> {
        let id = fields.get("templateid").ok_or(BadField { name: "templateid", problem: "is missing" })?;
        if id.len() > MAX_TEMPLATE_ID {
            return Err(BadField { name: "templateid", problem: "is too long" });
        }
        Ok(Review {
            id: id.to_owned(),
            code: fields.get("code").and_then(|code| code.parse().ok()),
            message: fields.get("msg").map(str::to_owned),
        })
    }

    /// Only code 2 is a yes; the published no is 0.
    pub fn is_approved(&self) -> bool {
        self.code == Some(APPROVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Review, BadField> {
        Review::read(&Fields::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()))))
    }

    #[test]
    fn only_code_2_approves() {
        for (code, approved) in [("2", true), ("0", false), ("20", false), ("yes", false)] {
            assert_eq!(read(&[("templateid", "7"), ("code", code)]).unwrap().is_approved(), approved, "{code}");
        }
    }

    #[test]
    fn a_review_names_its_template() {
        for bad in [&[("code", "2")][..], &[("templateid", " ")], &[("templateid", &"7".repeat(65))]] {
            assert_eq!(read(bad).unwrap_err().name, "templateid");
        }
    }
}
