//! The words of a text in a form to compare, and texts made shorter.

use std::collections::HashSet;

/// English words without a meaning of their own.
const STOP_WORDS: &[&str] = &[
    "a", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by",
    "can", "do", "does", "each", "for", "from", "had", "has", "have", "how", "if", "in", "into",
    "is", "it", "its", "may", "more", "most", "no", "nor", "not", "of", "on", "one", "only", "or",
    "other", "our", "over", "so", "some", "such", "than", "that", "the", "their", "them", "then",
    "there", "these", "they", "this", "those", "to", "up", "was", "we", "were", "what", "when",
    "where", "which", "while", "who", "whom", "why", "will", "with", "without", "would", "you",
    "your",
];

/// The terms of a text in order, repeated as often as they occur: small letters, plurals as
/// singulars, stop words left out. A name such as `drain_timeout` counts as itself and as its
/// parts.
#[must_use]
pub fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        let word = word.trim_matches('_').to_lowercase();
        let parts = word.split('_').filter(|part| !part.is_empty());
        for part in parts {
            if part.chars().count() > 1 && STOP_WORDS.binary_search(&part).is_err() {
                terms.push(singular(part));
            }
        }
        if word.contains('_') {
            terms.push(word);
        }
    }
    terms
}

/// The terms of a text, each once, in the order in which they first occur.
#[must_use]
pub fn distinct_terms(text: &str) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut all = terms(text);
    all.retain(|term| seen.insert(term.clone()));
    all
}

/// The terms of a goal that none of these texts has.
#[must_use]
pub fn missing_terms<'a>(goal: &str, texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let there: HashSet<String> = texts.flat_map(terms).collect();
    let mut missing = distinct_terms(goal);
    missing.retain(|term| !there.contains(term));
    missing
}

/// The S-stemmer of D. Harman, "How effective is suffixing?", JASIS 42(1), 1991.
fn singular(word: &str) -> String {
    let not_after = |ends: &[&str]| !ends.iter().any(|end| word.ends_with(end));
    if word.chars().count() < 4 {
        return word.to_owned();
    }
    match word {
        _ if word.ends_with("ies") && not_after(&["eies", "aies"]) => {
            format!("{}y", &word[..word.len() - 3])
        }
        _ if word.ends_with("es") && not_after(&["aes", "ees", "oes"]) => {
            word[..word.len() - 1].to_owned()
        }
        _ if word.ends_with('s') && not_after(&["us", "ss", "es"]) => {
            word[..word.len() - 1].to_owned()
        }
        _ => word.to_owned(),
    }
}

/// A text as one line, its words a space apart.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most 80 characters of what a caller sent, so that an error stays readable.
#[must_use]
pub fn shorten(text: &str) -> String {
    truncate(text, 80)
}

/// At most `most` characters of a text, with an ellipsis where something is cut off.
#[must_use]
pub fn truncate(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted_as_the_search_in_them_needs() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn terms_are_small_singular_and_mean_something() {
        assert_eq!(
            terms("The routers' policies, and HAProxy!"),
            ["router", "policy", "haproxy"]
        );
        assert_eq!(
            terms("drain_timeout"),
            ["drain", "timeout", "drain_timeout"]
        );
        assert_eq!(
            terms("process status glass bus classes"),
            ["process", "status", "glass", "bus", "classe"]
        );
        assert_eq!(terms("Größen 負荷"), ["größen", "負荷"]);
        assert_eq!(distinct_terms("retry retries retry"), ["retry"]);
        assert!(terms("a, the — 1 _ __").is_empty());
    }

    #[test]
    fn clipping_counts_characters_not_bytes() {
        assert_eq!(truncate("äöü", 2), "äö…");
        assert_eq!(truncate("äöü", 3), "äöü");
    }
}
