//! Names as people type them, with any case, accents and punctuation, and with small mistakes.

use strsim::levenshtein;

/// Longest name that is looked up, characters.
pub(crate) const MAX_NAME: usize = 100;

/// A name in lower case, without accents and punctuation, its words one space apart.
pub(crate) fn fold(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars().flat_map(char::to_lowercase) {
        match c {
            '.' | '\'' | '’' | '\u{300}'..='\u{36f}' => {}
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            c if c.is_alphanumeric() => folded.push(plain(c)),
            _ if folded.is_empty() || folded.ends_with(' ') => {}
            _ => folded.push(' '),
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

/// A letter without its accent.
fn plain(c: char) -> char {
    match c {
        'à'..='å' | 'ā' | 'ă' | 'ą' | 'ạ' | 'ả' => 'a',
        'ç' | 'ć' | 'č' => 'c',
        'ď' | 'đ' | 'ð' => 'd',
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => 'e',
        'ğ' => 'g',
        'ì'..='ï' | 'ī' | 'į' | 'ı' => 'i',
        'ł' | 'ľ' => 'l',
        'ñ' | 'ń' | 'ň' => 'n',
        'ò'..='ö' | 'ø' | 'ō' | 'ő' | 'ộ' => 'o',
        'ř' => 'r',
        'ś' | 'š' | 'ş' | 'ș' => 's',
        'ť' | 'ț' => 't',
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => 'u',
        'ý' | 'ÿ' => 'y',
        'ź' | 'ż' | 'ž' => 'z',
        c => c,
    }
}

/// At most three of `known` that `given` may mean, the nearest first. At most a third of the letters
/// differ, or `given` is the beginning of the name.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let given = fold(given);
    let length = given.chars().count();
    if length == 0 || length > MAX_NAME {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = known
        .filter_map(|name| {
            let folded = fold(name);
            let away = levenshtein(&given, &folded);
            let goes_on = length >= 3 && folded.starts_with(&given);
            (goes_on || away <= (length / 3).max(1)).then_some((away, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_forgets_case_accents_and_punctuation() {
        assert_eq!(fold("  SÃO-Paulo, "), "sao paulo");
        assert_eq!(fold("İstanbul"), "istanbul");
        assert_eq!(fold("Washington, D.C."), "washington dc");
        assert_eq!(fold("Tōkyō"), "tokyo");
        assert_eq!(fold("東京"), "東京");
    }

    #[test]
    fn a_small_mistake_is_near_and_another_word_is_not() {
        let known = ["Paris", "Prague", "Los Angeles"];
        assert_eq!(nearest("pariss", known.into_iter()), ["Paris"]);
        assert_eq!(nearest("los", known.into_iter()), ["Los Angeles"]);
        assert!(nearest("Atlantis", known.into_iter()).is_empty());
        assert!(nearest(&"x".repeat(5000), known.into_iter()).is_empty());
    }
}
