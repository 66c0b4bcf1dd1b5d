//! Assembles calls of functions from the deltas of a stream. By OpenAI's reference a delta belongs to
//! the call of its index, and only the first has an id and a name. Endpoints also number every call 0
//! or none, give no ids, or repeat id and name with each delta.

use serde_json::Value;

use crate::{
    Error,
    wire::{FunctionCall, ToolCall, number},
};

/// Most functions called at once.
const MAX_CALLS: usize = 32;

/// A part of a call, or all of it so far.
#[derive(Debug, Default)]
pub(crate) struct ToolCallDelta {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    extra: Option<Value>,
    /// The number of the event that began the call.
    event: usize,
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct ToolCallBuilder {
    calls: Vec<ToolCallDelta>,
    /// The number of the event that is read.
    event: usize,
}

impl ToolCallDelta {
    /// Parses a delta in any of its forms.
    pub(crate) fn parse(value: &Value) -> Self {
        let function = match &value["function"] {
            Value::Object(_) => &value["function"],
            _ => value,
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            // Whole, and not as text.
            other => other.to_string(),
        };
        Self {
            index: number(&value["index"]),
            id: match &value["id"] {
                Value::Number(number) => number.to_string(),
                other => text(other),
            },
            name: text(&function["name"]),
            arguments,
            extra: Some(value["extra_content"].clone()).filter(|extra| !extra.is_null()),
            event: 0,
        }
    }
}

impl ToolCallBuilder {
    /// Adds the deltas of one event.
    pub(crate) fn push(
        &mut self,
        pieces: impl Iterator<Item = ToolCallDelta>,
    ) -> Result<(), Error> {
        self.event += 1;
        for piece in pieces {
            match self.index_of(&piece) {
                Some(place) => self.calls[place].add(piece),
                None if self.calls.len() >= MAX_CALLS => {
                    let text = format!("calls more than {MAX_CALLS} tools at once");
                    return Err(Error::InvalidResponse(text));
                }
                None => self.calls.push(ToolCallDelta {
                    event: self.event,
                    ..piece
                }),
            }
        }
        Ok(())
    }

    /// The call that a delta continues; `None` when it begins one.
    fn index_of(&self, piece: &ToolCallDelta) -> Option<usize> {
        let of_index = match piece.index {
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index)),
            None => self.calls.len().checked_sub(1),
        };
        if !piece.id.is_empty()
            && let Some(place) = self.calls.iter().rposition(|call| call.id == piece.id)
        {
            return (!self.calls[place].is_followed_by(piece)).then_some(place);
        }
        let place = of_index?;
        let call = &self.calls[place];
        // A delta without a name continues the call, even where each has a new id.
        if piece.name.is_empty() || call.name.is_empty() {
            return Some(place);
        }
        let same = call.name == piece.name;
        let begun = !call.arguments.is_empty() && !is_whole(&call.arguments);
        let goes_on = match (call.event == self.event, piece.id.is_empty()) {
            (true, _) => false,
            (false, false) => same && (begun || call.id.is_empty() && !is_whole(&call.arguments)),
            (false, true) if piece.arguments.is_empty() && same => true,
            (false, true) => call.arguments.is_empty() || begun && same,
        };
        goes_on.then_some(place)
    }

    /// The calls that name a function.
    pub(crate) fn finish(self) -> Vec<ToolCall> {
        let named = self
            .calls
            .into_iter()
            .filter(|call| !call.name.trim().is_empty());
        named
            .map(|call| ToolCall {
                id: call.id,
                kind: "function".to_owned(),
                function: FunctionCall {
                    name: call.name.trim().to_owned(),
                    arguments: plain(call.arguments),
                },
                extra_content: call.extra,
            })
            .collect()
    }
}

impl ToolCallDelta {
    /// Whether a delta with this call's id is another call nevertheless.
    fn is_followed_by(&self, piece: &Self) -> bool {
        is_whole(&self.arguments)
            && is_whole(&piece.arguments)
            && !piece.name.is_empty()
            && piece.arguments != self.arguments
            && self.arguments.trim() != "{}"
    }

    fn add(&mut self, piece: Self) {
        if self.id.is_empty() {
            self.id = piece.id;
        }
        self.extra = self.extra.take().or(piece.extra);
        if self.name.is_empty() || self.arguments.is_empty() && grows(&self.name, &piece.name) {
            self.name = piece.name;
        } else if self.arguments.is_empty() && self.name != piece.name {
            self.name.push_str(&piece.name);
        }
        let (old, new) = (&self.arguments, piece.arguments);
        if is_whole(old) && (new == *old || new.trim().is_empty()) {
            return;
        }
        // An empty object is a placeholder, and some endpoints repeat all arguments so far.
        if old.trim() == "{}" || old.starts_with('{') && grows(old, &new) {
            self.arguments = new;
        } else {
            self.arguments.push_str(&new);
        }
    }
}

fn grows(old: &str, new: &str) -> bool {
    new.len() > old.len() && new.starts_with(old)
}

fn is_whole(arguments: &str) -> bool {
    // Checked first: parsing every delta would be slow.
    arguments.trim_end().ends_with('}')
        && matches!(serde_json::from_str(arguments), Ok(Value::Object(_)))
}

/// Arguments as the text of an object. No arguments are an empty object, and a text within a JSON
/// string is unwrapped.
fn plain(arguments: String) -> String {
    if arguments.trim().is_empty() || arguments.trim() == "null" {
        return "{}".to_owned();
    }
    match serde_json::from_str(&arguments) {
        Ok(Value::String(inner)) if is_whole(&inner) => inner,
        _ => arguments,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The calls of events, each an array of pieces: id, name and arguments.
    fn calls(events: &Value) -> Vec<(String, String, String)> {
        let mut calls = ToolCallBuilder::default();
        for event in events.as_array().unwrap() {
            let pieces = event.as_array().unwrap();
            calls.push(pieces.iter().map(ToolCallDelta::parse)).unwrap();
        }
        let calls = calls.finish().into_iter();
        calls
            .map(|call| (call.id, call.function.name, call.function.arguments))
            .collect()
    }

    fn piece(index: Option<u64>, id: &str, name: &str, arguments: impl Into<Value>) -> Value {
        let mut piece = json!({"function": {"name": name, "arguments": arguments.into()}});
        if let Some(index) = index {
            piece["index"] = json!(index);
        }
        if !id.is_empty() {
            piece["id"] = json!(id);
        }
        piece
    }

    #[test]
    fn two_calls_are_two_however_they_are_numbered() {
        let (one, two) = (r#"{"q":1}"#, r#"{"q":2}"#);
        let p = |index, id: &str, name: &str, arguments: &str| piece(index, id, name, arguments);
        let none = None::<u64>;
        let object = |id: &str, q: u64| piece(none, id, "f", json!({"q": q}));
        for events in [
            json!([[p(Some(0), "a", "f", one)], [p(Some(1), "b", "f", two)]]),
            json!([[p(Some(0), "a", "f", one)], [p(Some(0), "b", "f", two)]]),
            json!([[p(none, "a", "f", one)], [p(none, "b", "f", two)]]),
            json!([[p(none, "a", "f", one), p(none, "b", "f", two)]]),
            json!([[p(Some(0), "", "f", one)], [p(Some(0), "", "f", two)]]),
            json!([[p(none, "", "f", one)], [p(none, "", "f", two)]]),
            json!([[p(Some(0), "", "f", one), p(Some(0), "", "f", two)]]),
            json!([[p(Some(0), "f", "f", one)], [p(Some(0), "f", "f", two)]]),
            json!([[object("a", 1), object("b", 2)]]),
            json!([[object("", 1)], [object("", 2)]]),
            // Pieces that take turns.
            json!([
                [p(Some(0), "a", "f", "{\"q\"")],
                [p(Some(1), "b", "f", "{\"q\"")],
                [p(Some(0), "", "", ":1}")],
                [p(Some(1), "", "", ":2}")]
            ]),
        ] {
            let calls = calls(&events);
            let arguments: Vec<_> = calls.iter().map(|call| &*call.2).collect();
            assert_eq!(arguments, [one, two], "{events}");
        }
    }

    #[test]
    fn one_call_is_one_however_it_is_repeated() {
        let p = |index, id: &str, name: &str, arguments: &str| piece(index, id, name, arguments);
        let none = None::<u64>;
        for events in [
            json!([
                [p(Some(0), "a", "f", "{\"q\"")],
                [p(Some(0), "", "", ":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "{\"q\"")],
                [p(Some(0), "a", "f", ":1}")]
            ]),
            json!([[p(none, "a", "f", "{\"q\"")], [p(none, "a", "f", ":1}")]]),
            json!([[p(none, "a", "f", "{\"q\"")], [p(none, "", "", ":1}")]]),
            json!([
                [p(Some(0), "a", "f", "{\"q\"")],
                [p(Some(0), "x", "f", ":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "")],
                [p(Some(0), "x", "", "{\"q\":1}")]
            ]),
            json!([
                [p(Some(0), "", "f", "{\"q\"")],
                [p(Some(0), "", "f", ":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "{}")],
                [p(Some(0), "", "", "{\"q\"")],
                [p(Some(0), "", "", ":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "{\"q\"")],
                [p(Some(0), "a", "f", "{\"q\":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "{\"q\":1}")],
                [p(Some(0), "a", "f", "{\"q\":1}")]
            ]),
            json!([
                [p(Some(0), "a", "f", "{\"q\":1}")],
                [p(Some(0), "", "f", "")]
            ]),
            json!([[p(Some(0), "a", "f", "\"{\\\"q\\\":1}\"")]]),
            json!([[{"id": "a", "name": "f", "arguments": {"q": 1}}]]),
            json!([[{"index": "0", "id": "a", "function": {"name": "f", "arguments": null}}],
                [{"index": 0, "function": {"arguments": "{\"q\":1}"}}]]),
        ] {
            let calls = calls(&events);
            assert_eq!(calls.len(), 1, "{events}: {calls:?}");
            assert_eq!(
                (&*calls[0].1, &*calls[0].2),
                ("f", r#"{"q":1}"#),
                "{events}"
            );
        }
    }

    #[test]
    fn a_call_without_a_name_is_none_and_one_without_arguments_has_an_empty_object() {
        let events = json!([
            [piece(Some(0), "a", "", "{}")],
            [piece(Some(1), "b", "f", Value::Null)]
        ]);
        assert_eq!(
            calls(&events),
            [("b".to_owned(), "f".to_owned(), "{}".to_owned())]
        );
        let split = json!([
            [piece(Some(0), "a", "docs", "")],
            [piece(Some(0), "", "_tool", "{}")]
        ]);
        assert_eq!(calls(&split)[0].1, "docs_tool");
        let many: Vec<_> = (0..33)
            .map(|n| json!([piece(Some(n), "", "f", "{}")]))
            .collect();
        let mut all = ToolCallBuilder::default();
        let taken = many.iter().try_for_each(|event| {
            let pieces = event.as_array().unwrap();
            all.push(pieces.iter().map(ToolCallDelta::parse))
        });
        assert!(taken.is_err());
    }
}
