//! The part of OpenAI's chat completions that we use:
//! <https://platform.openai.com/docs/api-reference/chat>.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text; a message that calls functions may have none.
    pub content: Option<String>,
    /// The functions that the model wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The model's reasoning before that; sent only to endpoints that ask for it.
    #[serde(skip)]
    pub reasoning: String,
}

/// A function that the model wants called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The model's name for this call.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// Which, and with what.
    pub function: FunctionCall,
    /// Fields that the endpoint wants back with it, such as Gemini's thought signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

/// Which function, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// Its arguments as the text of a JSON object, if the model is right.
    pub arguments: String,
}

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Function {
    /// Letters, digits, underscores and dashes; at most 64.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

fn function() -> String {
    "function".to_owned()
}

impl Message {
    /// The instructions of the model.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::said("system", text)
    }

    /// A question to the model.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::said("user", text)
    }

    /// The result of a function.
    #[must_use]
    pub fn result(id: &str, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: Some(id.to_owned()),
            ..Self::said("tool", text)
        }
    }

    fn said(role: &str, text: impl Into<String>) -> Self {
        Self {
            role: role.to_owned(),
            content: Some(text.into()),
            ..Self::default()
        }
    }
}

/// A whole number that is written as an integer, a float or a text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let whole = number.as_f64().filter(|n| (0.0..1e15).contains(n))?;
            format!("{whole:.0}").parse().ok()
        }),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
