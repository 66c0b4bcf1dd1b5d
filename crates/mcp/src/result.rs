//! What comes of a call.

use std::sync::Arc;

use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    TaskView,
    json::{self, Numbers},
    rpc::code,
};

/// A text that is JSON, on one line: it goes into an answer as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

/// What a client sees of a result.
#[derive(Clone, Debug)]
pub enum Content {
    /// One text.
    Text(String),
    /// One text, the JSON of what is structured.
    Structured,
    /// An array of content blocks, as a mounted server gave it.
    Blocks(JsonText),
}

/// The result of a call: of the tool, or why there is none in words that a model understands.
#[derive(Clone, Debug)]
pub struct ToolResult {
    /// What people and models read.
    pub content: Content,
    /// The same as JSON, which is an object.
    pub structured: Option<JsonText>,
    /// Whether the call failed.
    pub is_error: bool,
    /// Consul service ID of the instance that answered (`mesh.v1/instance`).
    pub instance: Option<Arc<str>>,
    /// Consul name of the service (`mesh.v1/service`).
    pub service: Option<Arc<str>>,
    /// The gRPC status of a failure (`mesh.v1/status`): `code`, `reason` and `details`.
    pub status: Option<Value>,
    /// Further fields of `_meta`.
    pub meta: Map<String, Value>,
}

/// What became of a call.
#[derive(Debug)]
pub enum CallOutcome {
    /// Its result.
    Result(ToolResult),
    /// It goes on as a task.
    Task(TaskView),
}

/// Why a call has no result: an error of the protocol.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// Its number.
    pub code: i32,
    /// In words.
    pub message: String,
    /// What a program reads of it.
    pub data: Option<Value>,
}

impl JsonText {
    /// A text that is JSON; `None` for another. Line breaks between its parts are left out: messages
    /// on stdio and events are lines.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        if !raw.get().contains(['\n', '\r']) {
            return Some(Self(raw.get().to_owned()));
        }
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self(value.to_string()))
    }

    /// A message as protojson with the names of the proto file and every field, such that it fits
    /// [`schema::output_schema`](crate::schema::output_schema); `None` past `max_bytes`.
    #[must_use]
    pub fn of_message(message: &DynamicMessage, max_bytes: usize) -> Option<Self> {
        let mut text = String::new();
        let is_whole = json::write(message, &mut text, max_bytes, Numbers::AsText);
        is_whole.then_some(Self(text))
    }

    /// A text that was written as JSON just now.
    pub(crate) const fn written(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        Self(value.to_string())
    }
}

impl ToolResult {
    /// A result that is a text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            content: Content::Text(text.into()),
            structured: None,
            is_error: false,
            instance: None,
            service: None,
            status: None,
            meta: Map::new(),
        }
    }

    /// A result that is JSON, and the same as text. It has to be an object.
    #[must_use]
    pub fn structured(json: JsonText) -> Self {
        Self {
            content: Content::Structured,
            structured: Some(json),
            ..Self::text("")
        }
    }

    /// A failure, in words that say what to do.
    #[must_use]
    pub fn error(text: impl Into<String>) -> Self {
        Self {
            is_error: true,
            ..Self::text(text)
        }
    }

    /// Its JSON, as `result` of a response: since revision 2026-07-28 (`is_modern`) with its type.
    #[must_use]
    pub fn to_json(&self, is_modern: bool) -> String {
        let mut json = String::with_capacity(256 + self.size() * 9 / 4);
        json.push_str("{\"content\":");
        match &self.content {
            Content::Text(text) => push_text(&mut json, text),
            Content::Structured => {
                push_text(
                    &mut json,
                    self.structured.as_ref().map_or("", |it| it.get()),
                );
            }
            Content::Blocks(blocks) => json.push_str(blocks.get()),
        }
        if let Some(structured) = &self.structured {
            json.push_str(",\"structuredContent\":");
            json.push_str(structured.get());
        }
        json.push_str(if self.is_error {
            ",\"isError\":true"
        } else {
            ",\"isError\":false"
        });
        self.push_meta(&mut json);
        if is_modern {
            json.push_str(",\"resultType\":\"complete\"");
        }
        json.push('}');
        json
    }

    fn push_meta(&self, json: &mut String) {
        let named = [
            ("mesh.v1/instance", &self.instance),
            ("mesh.v1/service", &self.service),
        ];
        let mut between = ",\"_meta\":{";
        let mut is_any = false;
        let mut push = |name: &str, value: &dyn Fn(&mut String)| {
            json.push_str(between);
            between = ",";
            is_any = true;
            push_string(json, name);
            json.push(':');
            value(json);
        };
        for (name, value) in named {
            if let Some(text) = value {
                push(name, &|json| push_string(json, text));
            }
        }
        if let Some(status) = &self.status {
            push("mesh.v1/status", &|json| json.push_str(&status.to_string()));
        }
        for (name, value) in &self.meta {
            push(name, &|json| json.push_str(&value.to_string()));
        }
        if is_any {
            json.push('}');
        }
    }

    /// The bytes that the service gave, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let structured = self.structured.as_ref().map_or(0, |it| it.get().len());
        match &self.content {
            Content::Text(text) => text.len() + structured,
            Content::Structured => structured,
            Content::Blocks(blocks) => blocks.get().len() + structured,
        }
    }
}

/// One content block that is a text.
fn push_text(json: &mut String, text: &str) {
    json.push_str("[{\"type\":\"text\",\"text\":");
    push_string(json, text);
    json.push_str("}]");
}

/// A text as JSON has it.
pub(crate) fn push_string(json: &mut String, text: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    json.reserve(text.len() + 2);
    json.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !plain(byte)) {
        let (before, after) = rest.split_at(at);
        json.push_str(before);
        let (special, after) = after.split_at(1);
        match special {
            "\"" => json.push_str("\\\""),
            "\\" => json.push_str("\\\\"),
            "\n" => json.push_str("\\n"),
            "\r" => json.push_str("\\r"),
            "\t" => json.push_str("\\t"),
            other => {
                let byte = other.as_bytes().first().copied().unwrap_or_default();
                json.push_str(&format!("\\u{byte:04x}"));
            }
        }
        rest = after;
    }
    json.push_str(rest);
    json.push('"');
}

impl CallError {
    /// The parameters are wrong: an unknown tool, too.
    #[must_use]
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(code::INVALID_PARAMS, message)
    }

    /// A failure of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL_ERROR, message)
    }

    fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Its JSON, as `error` of a response.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_written_as_mcp_has_it() {
        let mut result = ToolResult::structured((&json!({"a": "é\n"})).into());
        result.service = Some("agent-echo".into());
        result.meta.insert("x".into(), json!([1]));
        let json: Value = serde_json::from_str(&result.to_json(true)).unwrap();
        assert_eq!(
            json,
            json!({"content": [{"type": "text", "text": "{\"a\":\"é\\n\"}"}], "isError": false,
                "structuredContent": {"a": "é\n"}, "resultType": "complete",
                "_meta": {"mesh.v1/service": "agent-echo", "x": [1]}})
        );
        let text = ToolResult::error("\u{1}\"\\\r\t\u{7f}").to_json(false);
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["content"][0]["text"], "\u{1}\"\\\r\t\u{7f}");
        assert_eq!((json.get("_meta"), json.get("resultType")), (None, None));
        assert_eq!(json["isError"], true);
    }
}
