//! What differs between two definitions of a tool, as an operator is shown it.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::SHOWN_FIELDS;
use crate::text::is_visible;

/// The longest value that a difference shows.
const SHOWN: usize = 400;

/// What differs at one place of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The place, as a JSON pointer; empty for the whole.
    pub place: String,
    /// What was approved.
    pub before: Option<Value>,
    /// What the server says now.
    pub after: Option<Value>,
}

/// What differs between two definitions.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare(place: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            let pinned =
                |name: &&String| !place.is_empty() || SHOWN_FIELDS.contains(&name.as_str());
            for name in names.into_iter().filter(pinned) {
                let step = name.replace('~', "~0").replace('/', "~1");
                compare(
                    &format!("{place}/{step}"),
                    old.get(name),
                    new.get(name),
                    found,
                );
            }
        }
        (before, after) if before == after => {}
        (before, after) => found.push(Change {
            place: place.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.place {
            "" => f.write_str("/")?,
            place => f.write_str(&visible(&window(place, 0)))?,
        }
        let text = |value: &Option<Value>| value.as_ref().map(|value| visible(&value.to_string()));
        let (before, after) = (text(&self.before), text(&self.after));
        let same = match (&before, &after) {
            (Some(before), Some(after)) => common(before, after),
            _ => 0,
        };
        for (sign, text) in [('-', &before), ('+', &after)] {
            if let Some(text) = text {
                write!(f, "\n  {sign} {}", window(text, same))?;
            }
        }
        Ok(())
    }
}

/// A text whose hidden characters are seen, as escapes of JSON: an operator is to approve what a model
/// reads.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_visible(c) {
            true => out.push(c),
            false => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

/// How many bytes two texts have in common at their beginnings.
fn common(one: &str, other: &str) -> usize {
    let both = one.chars().zip(other.chars());
    let same = both.take_while(|(one, other)| one == other);
    same.map(|(one, _)| one.len_utf8()).sum()
}

/// A part of a text, so that a place in it is seen.
fn window(text: &str, place: usize) -> String {
    let start = match place < SHOWN / 2 {
        true => 0,
        false => text.floor_char_boundary(place - SHOWN / 4),
    };
    let end = text.floor_char_boundary(start + SHOWN);
    let less = if start > 0 { "…" } else { "" };
    let more = if end < text.len() { "…" } else { "" };
    format!("{less}{}{more}", &text[start..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_is_seen_wherever_it_is_and_whatever_it_hides() {
        let long = "x".repeat(5_000);
        let (before, after) = (format!("{long}harmless"), format!("{long}sends your files"));
        let change = Change {
            place: "/description".to_owned(),
            before: Some(json!(before)),
            after: Some(json!(after)),
        };
        let shown = change.to_string();
        assert!(
            shown.contains("harmless") && shown.contains("sends your files"),
            "{shown}"
        );
        assert!(shown.len() < 1_200, "{}", shown.len());
        let change = Change {
            place: "/description".to_owned(),
            before: Some(json!("adds")),
            after: Some(json!("adds\u{200b}\u{202e}\u{e0041}")),
        };
        let shown = change.to_string();
        assert!(
            shown.ends_with(r#""adds\u200b\u202e\udb40\udc41""#),
            "{shown}"
        );
    }
}
