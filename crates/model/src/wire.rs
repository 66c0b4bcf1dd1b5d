//! OpenAI's chat completions as far as we speak it:
//! <https://platform.openai.com/docs/api-reference/chat>.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What is said; a message that calls functions may say nothing.
    pub content: Option<String>,
    /// The functions that the model wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A function that the model wants called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The model's name for this call.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// Which, and with what.
    pub function: FunctionCall,
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
    /// What the model is told about its part.
    #[must_use]
    pub fn system(text: impl Into<String>) -> Self {
        Self::said("system", text)
    }

    /// What the model is asked.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self::said("user", text)
    }

    /// What a function answered.
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

/// The body of a request.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: &'a [Message],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<Offered<'a>>,
    /// The same question has the same answer, which is what a cache assumes.
    pub(crate) temperature: u8,
    pub(crate) max_tokens: u32,
    pub(crate) stream: bool,
    pub(crate) stream_options: StreamOptions,
}

/// A function among what may be called.
#[derive(Debug, Serialize)]
pub(crate) struct Offered<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) function: &'a Function,
}

/// Asks for token counts at the end of a stream.
#[derive(Debug, Serialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

/// One event of a stream, or a whole answer of an endpoint that does not stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Option<Tokens>,
    pub(crate) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// In a stream.
    pub(crate) delta: Option<Delta>,
    /// In a whole answer.
    pub(crate) message: Option<Delta>,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub(crate) content: Option<String>,
    pub(crate) tool_calls: Option<Vec<CallDelta>>,
}

/// A piece of a function call: the first has id and name, all have a piece of the arguments.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CallDelta {
    pub(crate) index: Option<usize>,
    pub(crate) id: Option<String>,
    pub(crate) function: Option<FunctionDelta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionDelta {
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tokens {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}
