//! The words of a text.

/// Longest word, bytes: what is longer is no word.
const MAX_WORD: usize = 64;

/// The words of a text in small letters, without common endings: `getForecasts` is `get` and `forecast`.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    parts.flat_map(humps).filter_map(|word| {
        let word = word.to_lowercase();
        let is_word = !word.is_empty() && word.len() <= MAX_WORD && !is_filler(&word);
        is_word.then(|| stem(word))
    })
}

/// The parts of a name in camel case.
fn humps(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next_is_lower = chars.peek().is_some_and(|(_, next)| next.is_lowercase());
        let begins = before.is_some_and(|before| {
            c.is_uppercase() && (before.is_lowercase() || before.is_numeric() || next_is_lower)
        });
        if begins && at > start {
            parts.push(&text[start..at]);
            start = at;
        }
        before = Some(c);
    }
    parts.push(&text[start..]);
    parts
}

fn is_filler(word: &str) -> bool {
    matches!(
        word,
        "a" | "an"
            | "and"
            | "as"
            | "at"
            | "be"
            | "by"
            | "for"
            | "from"
            | "in"
            | "is"
            | "it"
            | "its"
            | "of"
            | "on"
            | "or"
            | "that"
            | "the"
            | "this"
            | "to"
            | "which"
            | "with"
    )
}

/// A word without its plural or its ending.
fn stem(mut word: String) -> String {
    for ending in ["ings", "ing", "ies", "es", "s", "ed"] {
        if let Some(rest) = word.strip_suffix(ending)
            && rest.chars().count() >= 4
            && !rest.ends_with('s')
        {
            word.truncate(rest.len());
            if ending == "ies" {
                word.push('y');
            }
            break;
        }
    }
    // `forecasting` and `forecaste` are nearly the same.
    if word.len() > 4 && word.ends_with('e') {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sentences_become_words() {
        let of = |text| words(text).collect::<Vec<_>>();
        assert_eq!(
            of("weather-tool__get_forecasts"),
            ["weather", "tool", "get", "forecast"]
        );
        assert_eq!(
            of("HTTPServer2Go listUsers"),
            ["http", "server2", "go", "list", "user"]
        );
        assert_eq!(of("The planning of a trip"), ["plann", "trip"]);
        assert_eq!(of("Städte é"), ["städt", "é"]);
        assert!(of("  -- ").is_empty());
    }
}
