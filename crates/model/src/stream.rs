//! An answer as it comes, in the forms that endpoints give it.

use serde_json::Value;

use crate::{
    error::AttemptError,
    reasoning::ReasoningFilter,
    sse::{BodyEvent, BodyParser},
    tool_calls::{ToolCallBuilder, ToolCallDelta},
    wire::{ToolCall, number},
};

/// Longest part of an error that is repeated, characters.
const MAX_ERROR_TEXT: usize = 300;

/// The answer of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Completion {
    /// Without the model's reasoning.
    pub(crate) content: String,
    pub(crate) calls: Vec<ToolCall>,
    /// The model's reasoning, where the endpoint sends it.
    pub(crate) reasoning: String,
    /// Tokens sent and written, where the endpoint counts them.
    pub(crate) tokens: Option<(u64, u64)>,
    /// Why it ended: `stop`, `tool_calls` or `length`.
    pub(crate) finish: Option<String>,
}

/// Builds an answer from the bytes of its body.
#[derive(Debug, Default)]
pub(crate) struct CompletionBuilder {
    body: BodyParser,
    answer: Completion,
    calls: ToolCallBuilder,
    reasoning: ReasoningFilter,
    /// Whether the stream said that it is complete.
    done: bool,
    /// Whether there was any part of an answer.
    seen: bool,
}

impl Completion {
    /// Its approximate size in memory.
    pub(crate) fn bytes(&self) -> usize {
        let calls = self
            .calls
            .iter()
            .map(|call| call.id.len() + call.function.arguments.len() + 128);
        self.content.len() + self.reasoning.len() + calls.sum::<usize>() + 128
    }

    /// Whether it ended because it was as long as it may be.
    pub(crate) fn is_truncated(&self) -> bool {
        let finish = self.finish.as_deref().unwrap_or_default();
        ["length", "max_tokens"].contains(&finish.to_lowercase().as_str())
    }
}

impl CompletionBuilder {
    /// Takes bytes, wherever they are cut, and returns the text in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<String, AttemptError> {
        let events = self.body.push(bytes);
        self.take(events)
    }

    /// Whether the endpoint has said that the answer is over.
    pub(crate) fn is_complete(&self) -> bool {
        self.done || self.answer.finish.is_some()
    }

    /// The answer at the end of the body, and the rest of its text.
    pub(crate) fn finish(mut self) -> Result<(Completion, String), AttemptError> {
        let events = std::mem::take(&mut self.body).finish();
        let mut text = self.take(events)?;
        if !self.seen {
            return Err(AttemptError::incomplete("the answer has no content"));
        }
        if !self.is_complete() {
            let problem = "the answer broke off in its middle";
            return Err(AttemptError::incomplete(problem));
        }
        let rest = self.reasoning.finish();
        self.answer.content.push_str(&rest);
        text.push_str(&rest);
        self.answer.calls = self.calls.finish();
        Ok((self.answer, text))
    }

    fn take(&mut self, events: Vec<BodyEvent>) -> Result<String, AttemptError> {
        let mut text = String::new();
        for event in events {
            match event {
                BodyEvent::Done => self.done = true,
                BodyEvent::Json(Value::Array(values)) => {
                    for value in &values {
                        text.push_str(&self.chunk(value)?);
                    }
                }
                BodyEvent::Json(value) => text.push_str(&self.chunk(&value)?),
                // What follows a complete answer changes nothing about it.
                BodyEvent::Other(..) if self.is_complete() => {}
                BodyEvent::Other(name, said) if name == "error" => return Err(problem(&said)),
                BodyEvent::Other(_, said) => {
                    let text = format!("an event is not of the documented form: {said}");
                    return Err(AttemptError::incomplete(truncate(&text)));
                }
            }
        }
        Ok(text)
    }

    /// Takes one event, or a whole answer of an endpoint that does not stream.
    fn chunk(&mut self, chunk: &Value) -> Result<String, AttemptError> {
        let error = &chunk["error"];
        let says_error = chunk["object"] == "error" || chunk["type"] == "error";
        if says_error || is_something(error) {
            return Err(problem(&chunk.to_string()));
        }
        if let Some(tokens) = tokens(&chunk["usage"]) {
            self.answer.tokens = Some(tokens);
        }
        let choices = match &chunk["choices"] {
            Value::Array(choices) => choices.as_slice(),
            Value::Null => return Ok(String::new()),
            one => std::slice::from_ref(one),
        };
        let first = |choice: &&Value| choice["index"].as_u64().unwrap_or(0) == 0;
        let Some(choice) = choices.iter().find(first) else {
            return Ok(String::new());
        };
        self.seen |= choice.is_object();
        // Some endpoints count there.
        if let Some(tokens) = tokens(&choice["usage"]) {
            self.answer.tokens = Some(tokens);
        }
        if is_something(&choice["error"]) {
            return Err(problem(&choice.to_string()));
        }
        match choice["finish_reason"].as_str() {
            None | Some("") => {}
            Some("error") => {
                let text = "the endpoint ended the answer with an error";
                return Err(AttemptError::incomplete(text));
            }
            Some(finish) => self.answer.finish = Some(finish.to_owned()),
        }
        self.delta(choice)
    }

    fn delta(&mut self, choice: &Value) -> Result<String, AttemptError> {
        // A last event may repeat as a message what was streamed.
        let streamed = !self.answer.content.is_empty();
        let delta = match (&choice["delta"], &choice["message"]) {
            (Value::Object(delta), _) if !delta.is_empty() => &choice["delta"],
            (_, message @ Value::Object(_)) if !streamed => {
                // A whole answer, of an endpoint that does not stream.
                self.done = true;
                message
            }
            _ if streamed => return Ok(String::new()),
            _ => choice,
        };
        for name in ["reasoning_content", "reasoning"] {
            if let Some(thought) = delta[name].as_str() {
                self.answer.reasoning.push_str(thought);
                break;
            }
        }
        let old = &delta["function_call"];
        let pieces = match &delta["tool_calls"] {
            Value::Array(pieces) => pieces.as_slice(),
            Value::Object(_) => std::slice::from_ref(&delta["tool_calls"]),
            _ if old.is_object() => std::slice::from_ref(old),
            _ => &[],
        };
        let pieces = pieces.iter().filter(|piece| piece.is_object());
        self.calls
            .push(pieces.map(ToolCallDelta::parse))
            .map_err(AttemptError::Permanent)?;
        let mut said = text(&delta["content"]);
        if said.is_empty() {
            said = text(&delta["refusal"]);
        }
        let passed = self.reasoning.push(&said);
        if passed.discards_previous {
            self.answer.content.clear();
        }
        self.answer.content.push_str(&passed.text);
        Ok(passed.text)
    }
}

/// The text of a content that is a string or a list of parts. Parts of other types have none.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text).collect(),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
            match kind {
                "text" | "output_text" | "text_delta" => part
                    .get("text")
                    .or_else(|| part.get("value"))
                    .map(text)
                    .unwrap_or_default(),
                "refusal" => part.get("refusal").map(text).unwrap_or_default(),
                _ => String::new(),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

fn is_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::Array(_) => true,
    }
}

/// Tokens sent and written; `None` unless both are counted.
fn tokens(usage: &Value) -> Option<(u64, u64)> {
    let count = |names: [&str; 2]| names.into_iter().find_map(|name| number(&usage[name]));
    let (sent, written) = (
        count(["prompt_tokens", "input_tokens"]),
        count(["completion_tokens", "output_tokens"]),
    );
    match (sent, written, number(&usage["total_tokens"])) {
        (Some(sent), Some(written), _) => Some((sent, written)),
        (Some(sent), None, Some(all)) => Some((sent, all.saturating_sub(sent))),
        (None, Some(written), Some(all)) => Some((all.saturating_sub(written), written)),
        _ => None,
    }
}

/// An error within a stream: a rejection when its status is 4xx.
fn problem(said: &str) -> AttemptError {
    let value: Value = serde_json::from_str(said).unwrap_or_default();
    let error = match &value["error"] {
        Value::Object(_) => &value["error"],
        _ => &value,
    };
    let status = ["code", "status", "status_code", "http_code"]
        .iter()
        .find_map(|key| number(&error[*key]).and_then(|status| u16::try_from(status).ok()));
    let refused = matches!(status, Some(400..500));
    let invalid = error["type"]
        .as_str()
        .is_some_and(|kind| kind.contains("invalid_request") || kind.contains("BadRequest"));
    match status {
        Some(status) if refused => AttemptError::Rejected(status, said.to_owned()),
        None if invalid => AttemptError::Rejected(400, said.to_owned()),
        _ => AttemptError::incomplete(truncate(said)),
    }
}

/// The first part of a text, trimmed.
pub(crate) fn truncate(text: &str) -> String {
    text.trim().chars().take(MAX_ERROR_TEXT).collect()
}

#[cfg(test)]
mod tests;
