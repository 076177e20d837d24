//! What a text costs, and what it may not hold. Facts: ihuyi's interface document v3.3, section on billing.

/// Characters of a message that is billed as one.
const ONE_PART: usize = 70;
/// Characters of each part of a longer one.
const EACH_PART: usize = 67;

/// The parts that are billed for `text` behind a signature of so many characters, its brackets counted in.
pub fn parts(text: &str, signature: usize) -> u64 {
    parts_of(signature + text.chars().count())
}

/// The parts that are billed for so many characters, those of the signature counted in.
pub fn parts_of(characters: usize) -> u64 {
    if characters <= ONE_PART { 1 } else { characters.div_ceil(EACH_PART) as u64 }
}

/// Whether a text holds an emoji. Which characters ihuyi refuses (4074) is not published: taken are
/// those that Unicode shows as pictures unless told otherwise and lie beyond the plain symbols, the
/// keycap, and the selector that makes a picture of a plain sign. Rare Chinese characters are none.
pub fn has_emoji(text: &str) -> bool {
    text.chars().any(|c| matches!(c, '\u{1F000}'..='\u{1FAFF}' | '\u{FE0F}' | '\u{20E3}' | '\u{E0020}'..='\u{E007F}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventy_are_one_part_and_then_each_has_67() {
        for (characters, parts_of_it) in [(0, 1), (64, 1), (65, 2), (128, 2), (129, 3), (300, 5)] {
            assert_eq!(parts(&"好".repeat(characters), 6), parts_of_it, "{characters}");
        }
    }

    #[test]
    fn an_emoji_is_seen_and_a_rare_character_is_none() {
        for text in ["好😀", "\u{2764}\u{FE0F}", "1\u{FE0F}\u{20E3}", "🇨🇳", "🥰"] {
            assert!(has_emoji(text), "{text}");
        }
        assert!(!has_emoji("𠮷★①℃ ❤ 100% №"));
    }
}
