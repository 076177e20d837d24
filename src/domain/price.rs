//! What messages would cost, by the lengths of their texts alone.

use std::collections::BTreeMap;

use super::template::Templates;
use super::text::parts_of;

/// Characters of the signature of an account that is not configured any more: as where the configuration does not say.
pub const SIGNATURE: usize = 6;

/// What the configuration knows of it.
#[derive(Clone, Debug, Default)]
pub struct Price {
    /// Characters of the signature that ihuyi adds, by account.
    signatures: BTreeMap<String, usize>,
    templates: Templates,
}

impl Price {
    /// The signatures have so many characters, by account.
    pub fn new(signatures: BTreeMap<String, usize>, templates: Templates) -> Self {
        Price { signatures, templates }
    }

    /// The parts that are billed for a message of `account`. It has so many characters: its text, or the variables of its
    /// template, joined as they are sent. Of a template that is not configured no more is known.
    pub fn parts(&self, account: &str, template_id: Option<&str>, characters: usize) -> u64 {
        let template = template_id.and_then(|id| self.templates.find(id));
        let text = template.map_or(characters, |(_, template)| template.filled_length(characters));
        parts_of(self.signatures.get(account).copied().unwrap_or(SIGNATURE) + text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Payload;
    use crate::domain::template::Template;
    use crate::domain::text::parts;

    #[test]
    fn the_signature_counts() {
        let price = Price::new([("main".to_owned(), 5)].into(), Templates::default());
        assert_eq!((price.parts("main", None, 65), price.parts("main", None, 66)), (1, 2));
        assert_eq!((price.parts("gone", None, 64), price.parts("gone", None, 65)), (1, 2));
    }

    #[test]
    fn a_template_costs_what_its_message_is_billed_for() {
        for fixed in 55..65 {
            let template = Template::new("7", &format!("【变量】{}【变量】", "好".repeat(fixed)), 8).unwrap();
            let templates = Templates::new([("long".to_owned(), template)].into());
            let variables = vec!["123".to_owned(), "好".to_owned()];
            let payload = Payload::Template { id: "long".into(), variables };
            let billed = parts(&templates.rendered(&payload), SIGNATURE);
            let joined = payload.content().chars().count();
            let price = Price::new(BTreeMap::new(), templates);
            assert_eq!(price.parts("main", Some("long"), joined), billed, "{fixed}");
            assert_eq!(price.parts("main", Some("7"), joined), billed, "by ihuyi's id");
            assert_eq!(price.parts("main", Some("8"), joined), 1, "not configured");
        }
    }
}
