//! Splits a description into what can be done one by one, by its punctuation and joining words.

/// The most parts of a description; what is left over stays in the last one.
pub const MAX_SUBTASKS: usize = 64;

/// Splits at sentence ends, line ends, `;`, `then` and `and`. What is empty or bare punctuation is
/// left out; a description without anything else is one part.
///
/// ```
/// let parts = mesh_work::split("Design the schema, then write it; test it. Deploy v1.2 and tell Ann");
/// let expected = ["Design the schema", "write it", "test it", "Deploy v1.2", "tell Ann"];
/// assert_eq!(parts, expected);
/// ```
#[must_use]
pub fn split(description: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < description.len() && parts.len() + 1 < MAX_SUBTASKS {
        match joint(description, at) {
            Some(length) => {
                keep(&mut parts, &description[start..at]);
                at += length;
                start = at;
            }
            None => at += description[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    keep(&mut parts, &description[start..]);
    if parts.is_empty() {
        parts.push(description.trim().to_owned());
    }
    parts
}

/// How many bytes of a joint stand at this place.
fn joint(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let first = rest.chars().next()?;
    match first {
        ';' | '\n' | '\r' | '。' | '！' | '？' => Some(first.len_utf8()),
        // Within a word, as in `v1.2` or `example.org`, they end nothing.
        '.' | '!' | '?' => {
            let ends = rest[1..].chars().next().is_none_or(char::is_whitespace);
            (ends && !abbreviates(&text[..at])).then_some(1)
        }
        _ => word(text, at),
    }
}

/// The length of a joining word that stands alone at this place.
fn word(text: &str, at: usize) -> Option<usize> {
    let before = text[..at].chars().next_back();
    // Looked at first: a look ahead from every letter of a very long word would take for ever.
    if !before.is_some_and(char::is_whitespace) {
        return None;
    }
    let rest = &text[at..];
    let length = rest.find(char::is_whitespace)?;
    let joins = ["then", "and"]
        .iter()
        .any(|word| rest[..length].eq_ignore_ascii_case(word));
    joins.then_some(length)
}

/// Whether the dot after this belongs to a word such as `e.g.` or an initial.
fn abbreviates(before: &str) -> bool {
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let known = ["etc", "vs", "mr", "mrs", "dr", "no"];
    word.contains('.') && word.split('.').all(|part| part.chars().count() == 1)
        || known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn keep(parts: &mut Vec<String>, part: &str) {
    let trimmed =
        part.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '-' | '.'));
    // "… and then …" leaves a joining word of its own.
    let bare = ["then", "and"]
        .iter()
        .any(|word| trimmed.eq_ignore_ascii_case(word));
    if !bare && trimmed.chars().any(char::is_alphanumeric) {
        parts.push(trimmed.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_splits_where_one_thing_ends_and_another_begins() {
        let table: [(&str, &[&str]); 10] = [
            (
                "Build a user authentication system",
                &["Build a user authentication system"],
            ),
            ("Plan it and then do it", &["Plan it", "do it"]),
            (
                "Plan it, and do it. Then rest.",
                &["Plan it", "do it", "rest"],
            ),
            ("a; b;; c", &["a", "b", "c"]),
            ("Handle sandy thens", &["Handle sandy thens"]),
            (
                "Upgrade to v1.2 on example.org!",
                &["Upgrade to v1.2 on example.org"],
            ),
            (
                "Use tools, e.g. search, to look.",
                &["Use tools, e.g. search, to look"],
            ),
            ("- first\n- second\n", &["first", "second"]),
            ("Größe messen and prüfen", &["Größe messen", "prüfen"]),
            ("...", &["..."]),
        ];
        for (text, parts) in table {
            assert_eq!(split(text), parts, "{text:?}");
        }
    }

    #[test]
    fn a_very_long_word_takes_no_longer_than_many_short_ones() {
        // A million bytes would take minutes if each were looked ahead from.
        assert_eq!(split(&"a".repeat(1_000_000)).len(), 1);
    }

    #[test]
    fn a_very_long_list_keeps_its_rest_in_the_last_part() {
        let text = vec!["step"; 500].join("; ");
        let parts = split(&text);
        assert_eq!(parts.len(), MAX_SUBTASKS);
        assert!(parts[MAX_SUBTASKS - 1].matches("step").count() > 400);
    }
}
