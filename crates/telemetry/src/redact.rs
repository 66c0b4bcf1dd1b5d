//! Keeps passwords out of what people read: the user part of a URL is never shown.

use std::borrow::Cow;

/// What stands in place of a user part.
const HIDDEN: &str = "***";

/// A text without the user parts of the URLs in it, with or without a scheme: of
/// `redis://user:secret@host` it leaves `redis://***@host`, and of `user:secret@host` `***@host`.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        word(&rest[..end], &mut redacted);
        let after = rest[end..]
            .chars()
            .next()
            .map_or(end, |c| end + c.len_utf8());
        redacted.push_str(&rest[end..after]);
        rest = &rest[after..];
    }
    Cow::Owned(redacted)
}

/// A JSON text whose strings are [redacted](redact). It stays JSON: an escape is read before a URL
/// is looked for, so that `"\u0017:secret@host"` does not become `"\***@host"`. A text that is not
/// JSON is redacted as plain text.
#[must_use]
pub fn redact_json(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let (before, string) = rest.split_at(start);
        redacted.push_str(&redact(before));
        let (string, after) = string.split_at(string_length(string));
        match serde_json::from_str::<String>(string) {
            Ok(value) => match redact(&value) {
                shown if shown == value => redacted.push_str(string),
                shown => redacted.push_str(&serde_json::Value::from(shown).to_string()),
            },
            Err(_) => redacted.push_str(&redact(string)),
        }
        rest = after;
    }
    redacted.push_str(&redact(rest));
    Cow::Owned(redacted)
}

/// How many bytes the JSON string at the start of a text takes, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |end| end + 2)
}

/// What ends a URL in a text. A backslash does not: a password may hold one.
fn is_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// Appends a word, which may hold several URLs.
fn word(word: &str, to: &mut String) {
    let Some(at) = word.rfind('@') else {
        return to.push_str(word);
    };
    let before = &word[..at];
    if let Some(scheme) = before.rfind("://") {
        let authority = scheme + "://".len();
        self::word(&word[..scheme], to);
        to.push_str("://");
        if is_user(&before[authority..]) {
            to.push_str(HIDDEN);
        } else {
            to.push_str(&before[authority..]);
        }
        return to.push_str(&word[at..]);
    }
    // Without a scheme only a password tells it from an address of mail.
    let start = before.find('=').map_or(0, |equals| equals + 1);
    if before[start..].contains(':') && !before.contains('/') {
        to.push_str(&word[..start]);
        to.push_str(HIDDEN);
        return to.push_str(&word[at..]);
    }
    to.push_str(word);
}

/// Whether what stands between `://` and `@` is a user part, and not a host with a path. A password
/// that holds a slash makes a port of what is none.
fn is_user(text: &str) -> bool {
    let Some(end) = text.find(['/', '?', '#']) else {
        return true;
    };
    let port = text[..end].rsplit_once(':').map(|(_, port)| port);
    let is_ipv6 = text.starts_with('[') && text[..end].ends_with(']');
    port.is_some_and(|port| port.is_empty() || !port.bytes().all(|it| it.is_ascii_digit()))
        && !is_ipv6
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};
    use serde_json::json;

    use super::*;

    #[test]
    fn no_user_part_of_a_url_is_left() {
        for (text, expected) in [
            ("redis://user:secret@host:6379/0", "redis://***@host:6379/0"),
            ("redis://:secret@host", "redis://***@host"),
            ("https://token@host/path", "https://***@host/path"),
            ("https://u:se@cret@host", "https://***@host"),
            ("https://u:se/cret@host", "https://***@host"),
            ("https://u:se?cret#@host", "https://***@host"),
            (
                "redis+cluster://u:secret@a:1,b:2",
                "redis+cluster://***@a:1,b:2",
            ),
            (
                "http://u:secret@a,http://v:secret@b",
                "http://***@a,http://***@b",
            ),
            (
                "cannot ask \"http://u:secret@a/\": http://u:secret@a/ is away",
                "cannot ask \"http://***@a/\": http://***@a/ is away",
            ),
            (
                "{\"url\":\"http://u:secret@a\"}",
                "{\"url\":\"http://***@a\"}",
            ),
            (r"redis://u:se\cret@host", "redis://***@host"),
            ("redis://u:secret@host]?@", "redis://***@"),
            (r"u:se\cret@host", "***@host"),
            ("user:secret@host:8500", "***@host:8500"),
            ("x=user:secret@host", "x=***@host"),
            (":secret@host", "***@host"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            "",
            "plain",
            "me@example.org",
            "https://host/@user/page",
            "https://host:8080/a@b",
            "https://[::1]/a@b",
            "a @ b: c",
            "größe://x größer@",
        ] {
            assert_eq!(redact(text), text);
            assert_eq!(redact_json(text), text);
        }
    }

    /// What a string of a caller is made of, where an escape, a URL and a password may meet.
    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            "[\\\\\"\u{0}-\u{20}:@/=nu0]{1,4}",
            Just("redis://u:se\\cret@host".to_owned()),
        ];
        collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn json_stays_json_and_each_string_is_redacted(key in hostile(), value in hostile()) {
            let text = json!({ key.as_str(): [value.as_str(), 1, null] }).to_string();
            let expected = json!({ redact(&key): [redact(&value), 1, null] });
            let shown: serde_json::Value = serde_json::from_str(&redact_json(&text)).unwrap();
            prop_assert_eq!(shown, expected);
        }

        #[test]
        fn text_that_is_no_json_has_no_user_part_either(before in "[a-z{\\[: ]{0,8}", after in "[ -~]{0,8}") {
            for quote in ["", "\""] {
                let text = format!("{before} {quote}redis://u:secret@host{after}");
                prop_assert!(!redact_json(&text).contains("secret"));
            }
        }
    }
}
