//! What a text may be: its length and price, emoji, signature and templates.

use super::options::{Account, Template};

/// Where a template takes a variable.
const SLOT: &str = "【变量】";
/// Characters a variable may have; an account's setting at ihuyi, 8 by default.
const VARIABLE_MAX: usize = 8;

/// The parts billed for `text`, with `signature` and its two brackets: one up to 70 characters, else
/// one for every 67 begun.
pub fn parts(signature: &str, text: &str) -> u64 {
    let characters = (signature.chars().count() + 2 + text.chars().count()) as u64;
    if characters <= 70 { 1 } else { characters.div_ceil(67) }
}

/// Whether `text` holds a pictograph. Which characters ihuyi counts is not published: taken here are the
/// pictograph planes, the keycap and the selector that makes an emoji of a plain sign.
pub fn has_emoji(text: &str) -> bool {
    text.chars().any(|character| matches!(character, '\u{1F000}'..='\u{1FAFF}' | '\u{FE0F}' | '\u{20E3}'))
}

/// Whether a text that begins with a signature of its own has a malformed one: not closed, or not of
/// 2 to 30 characters.
pub fn has_bad_signature(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('【') else {
        return false;
    };
    let length = rest.split_once('】').map(|(signature, _)| signature.chars().count());
    !length.is_some_and(|length| (2..=30).contains(&length))
}

/// The text that goes to the phone: the template filled in, or the content where no template is named,
/// it is unknown, or the variables do not fit it.
pub fn rendered(account: &Account, templateid: &str, content: &str) -> String {
    let template = account.templates.iter().find(|template| template.id == templateid);
    template.and_then(|template| fill(template, content)).unwrap_or_else(|| content.to_owned())
}

/// Judges a text by the account's approved templates.
pub fn check_templates(account: &Account, templateid: &str, content: &str) -> Result<(), i64> {
    if account.templates.is_empty() {
        return Err(4071);
    }
    if templateid.is_empty() {
        let matched = account.templates.iter().any(|template| matches(template, content));
        return if matched { Ok(()) } else { Err(4072) };
    }
    let template = account.templates.iter().find(|template| template.id == templateid).ok_or(4071)?;
    fill(template, content).ok_or(4072)?;
    let too_long = content.split('|').any(|variable| variable.chars().count() > VARIABLE_MAX);
    if too_long { Err(40722) } else { Ok(()) }
}

/// Fills the slots with `v1|v2|…`; `None` where their numbers differ.
fn fill(template: &Template, variables: &str) -> Option<String> {
    let mut variables = variables.split('|');
    let mut literals = template.text.split(SLOT);
    let mut text = literals.next()?.to_owned();
    for literal in literals {
        text.push_str(variables.next()?);
        text.push_str(literal);
    }
    variables.next().is_none().then_some(text)
}

/// Whether `text` is the template with something in each slot, to the character.
fn matches(template: &Template, text: &str) -> bool {
    let literals: Vec<&str> = template.text.split(SLOT).collect();
    let [first, middle @ .., last] = literals.as_slice() else {
        return template.text == text;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for literal in middle {
        // The leftmost fit leaves most to the later slots, so no other choice can succeed where it fails.
        let Some(slot) = rest.chars().next() else {
            return false;
        };
        let Some(at) = rest[slot.len_utf8()..].find(literal) else {
            return false;
        };
        rest = &rest[slot.len_utf8() + at + literal.len()..];
    }
    rest.strip_suffix(last).is_some_and(|variable| !variable.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_billed_by_67_characters_with_the_signature() {
        let text = |length: usize| "字".repeat(length);
        assert_eq!(parts("互亿无线", &text(64)), 1);
        assert_eq!(parts("互亿无线", &text(65)), 2);
        assert_eq!(parts("互亿无线", &text(67 * 2 - 6)), 2);
        assert_eq!(parts("互亿无线", &text(67 * 2 - 5)), 3);
    }

    #[test]
    fn a_text_must_match_its_template_to_the_character() {
        let template = Template::new("7", "订单【变量】由【变量】承运");
        assert!(matches(&template, "订单A1由顺丰承运"));
        assert!(matches(&template, "订单由由由承运"));
        for wrong in ["订单A1由顺丰承运。", "订单由顺丰承运", "订单A1由承运", "您的订单A1由顺丰承运", ""]
        {
            assert!(!matches(&template, wrong), "{wrong}");
        }
        assert!(matches(&Template::new("8", "已发货"), "已发货"));
    }

    #[test]
    fn variables_must_be_as_many_as_slots_and_short() {
        let mut account = Account {
            templates: vec![Template::new("7", "订单【变量】由【变量】承运")],
            ..Account::default()
        };
        assert_eq!(check_templates(&account, "7", "A1|顺丰"), Ok(()));
        assert_eq!(check_templates(&account, "7", "A1"), Err(4072));
        assert_eq!(check_templates(&account, "7", "A1|顺丰|x"), Err(4072));
        assert_eq!(check_templates(&account, "7", "A1|123456789"), Err(40722));
        assert_eq!(check_templates(&account, "8", "A1|顺丰"), Err(4071));
        assert_eq!(rendered(&account, "7", "A1|顺丰"), "订单A1由顺丰承运");
        account.templates.clear();
        assert_eq!(check_templates(&account, "", "x"), Err(4071));
    }

    #[test]
    fn a_text_with_a_signature_of_its_own_needs_a_well_formed_one() {
        assert!(!has_bad_signature("您好【单】"));
        assert!(!has_bad_signature("【某商城】您好"));
        assert!(has_bad_signature("【某】您好"));
        assert!(has_bad_signature("【某商城您好"));
    }

    #[test]
    fn rare_characters_are_no_emoji() {
        assert!(has_emoji("好😀"));
        assert!(has_emoji("\u{2764}\u{FE0F}"));
        assert!(!has_emoji("𠮷★①℃"));
    }
}
