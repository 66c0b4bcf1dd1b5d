//! Texts of services, made fit for models; and values as texts that can be compared.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::result::push_string;

/// Longest title, characters.
pub const MAX_TITLE: usize = 128;
/// Longest description, characters.
pub const MAX_DESCRIPTION: usize = 1_024;

/// A text without control and invisible characters, with at most `max` characters. Models read the
/// text, and people do not see what such characters hide.
///
/// ```
/// assert_eq!(mesh_mcp::text::clean("a\u{200b}b\u{0} \n\n c", 10), "ab\n\nc");
/// assert_eq!(mesh_mcp::text::clean("abcdef", 4), "abc…");
/// ```
#[must_use]
pub fn clean(text: &str, max: usize) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let visible: String = line
            .chars()
            .filter(|c| *c == '\t' || is_visible(*c))
            .collect();
        let words: Vec<&str> = visible.split_whitespace().collect();
        lines.push(words.join(" "));
    }
    let whole = lines.join("\n");
    let whole = whole.trim();
    match whole.char_indices().nth(max) {
        None => whole.to_owned(),
        Some(_) => {
            let kept: String = whole.chars().take(max.saturating_sub(1)).collect();
            kept.trim_end().to_owned() + "…"
        }
    }
}

/// A value as text, the same for values that are equal: the members of objects are in order.
///
/// ```
/// let value = serde_json::json!({"b": [1], "a": {"d": "x", "c": null}});
/// assert_eq!(mesh_mcp::text::canonical(&value), r#"{"a":{"c":null,"d":"x"},"b":[1]}"#);
/// ```
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            out.push('{');
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(out, name);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(all) => {
            out.push('[');
            for (at, value) in all.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Whether a character is seen: neither a control character, nor one of format, such as those that
/// turn the direction of a text, nor a tag.
#[must_use]
pub fn is_visible(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' | '\u{2028}' | '\u{2029}'
        | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}');
    !c.is_control() && !hidden
}
