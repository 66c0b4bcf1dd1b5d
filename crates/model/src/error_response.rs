//! Error responses: which parameter an endpoint rejects, in the words of known endpoints.

use serde_json::Value;

/// The parameters that a request can leave out, the one that matters least first, each with what else
/// error responses call it, in small letters.
const OPTIONAL: [(&str, &[&str]); 7] = [
    ("stream_options", &["include_usage", "streamoptions"]),
    ("tool_choice", &["tool choice", "tool-choice", "toolchoice"]),
    ("temperature", &[]),
    (
        "max_completion_tokens",
        &["maxcompletiontokens", "in the completion"],
    ),
    (
        "max_tokens",
        &[
            "maxtokens",
            "maxoutputtokens",
            "max_output_tokens",
            "max_new_tokens",
            "in the completion",
        ],
    ),
    ("stream", &["streaming"]),
    (
        "tools",
        &[
            "tool",
            "functions",
            "function calling",
            "function call",
            "tool choice",
            "tool-choice",
            "tool_choice",
        ],
    ),
];

/// An error that a retry may cure rejects a parameter only when it has one of these words.
const REJECTING: [&str; 16] = [
    "unsupported",
    "not supported",
    "not support",
    "unknown",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "extra",
    "extraneous",
    "not permitted",
    "not allowed",
    "requires",
    "invalid",
    "cannot use",
    "that support",
    "deprecated",
];

/// Fields whose values repeat the request, or are not about it.
const ECHOES: [&str; 6] = ["input", "body", "request", "messages", "ctx", "url"];
/// Deepest value that is read.
const MAX_DEPTH: usize = 16;

/// The names of all parameters that a request can leave out.
pub(crate) fn optional_params() -> impl Iterator<Item = &'static str> {
    OPTIONAL.iter().map(|(name, _)| *name)
}

/// A parsed error response.
#[derive(Debug, Default)]
pub(crate) struct ErrorResponse {
    /// Whether its status can mean a rejected parameter.
    eligible: bool,
    /// The parameters in its fields for parameters' names.
    named: Vec<String>,
    /// All its texts, in small letters.
    text: String,
}

impl ErrorResponse {
    /// Parses an error response.
    pub(crate) fn parse(status: u16, body: &str) -> Self {
        let mut refusal = Self::default();
        match serde_json::from_str::<Value>(body) {
            Ok(value) => refusal.walk(&value, MAX_DEPTH),
            Err(_) => refusal.say(body),
        }
        let refusing = REJECTING.iter().any(|word| refusal.text.contains(word));
        refusal.eligible = match status {
            400 | 422 => true,
            // Servers also answer so when no model takes such requests.
            404 | 405 | 406 | 415 | 500 | 501 => refusing,
            _ => false,
        };
        refusal
    }

    /// The parameter that it rejects, of those that were sent. Of several it is the one that matters least.
    pub(crate) fn rejected_param(&self, sent: &[&'static str]) -> Option<&'static str> {
        if !self.eligible {
            return None;
        }
        let sent = || OPTIONAL.iter().filter(|(name, _)| sent.contains(name));
        let called =
            |(name, also): &(&str, &[&str]), given: &str| *name == given || also.contains(&given);
        let named = sent().find(|row| self.named.iter().any(|name| called(row, name)));
        let said = |(name, also): &&(&str, &[&str])| {
            let mut all = std::iter::once(name).chain(*also);
            all.any(|name| word(&self.text, name))
        };
        named.or_else(|| sent().find(said)).map(|(name, _)| *name)
    }

    /// Whether it names this parameter.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.eligible && word(&self.text, name)
    }

    /// Whether the request is too long for the model's context.
    pub(crate) fn is_context_length(&self) -> bool {
        ["context length", "context window", "context size"]
            .iter()
            .any(|words| self.text.contains(words))
    }

    fn walk(&mut self, value: &Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(text) => self.say(text),
            Value::Array(values) => values.iter().for_each(|value| self.walk(value, depth)),
            Value::Object(fields) => {
                if let Some(name) = fields.get("param").and_then(Value::as_str) {
                    self.named.push(root(name));
                }
                // Pydantic: the place in the body.
                let place = fields.get("loc").and_then(Value::as_array);
                let place = place.into_iter().flatten().filter_map(Value::as_str);
                self.named.extend(place.map(root));
                fields
                    .iter()
                    .filter(|(key, _)| !ECHOES.contains(&key.as_str()) && *key != "loc")
                    .for_each(|(_, value)| self.walk(value, depth));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn say(&mut self, text: &str) {
        // Proxies pass errors on as JSON, or as Python's form of it, within a text.
        let mut rest = text;
        while let Some((_, place)) = rest.split_once("loc'").or(rest.split_once("loc\"")) {
            let end = place.find([')', ']']).unwrap_or(place.len());
            let names = place[..end].split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let names = names.filter(|name| !name.is_empty() && *name != "body");
            self.named.extend(names.map(root));
            rest = &place[end..];
        }
        let said = text.split("'input':").next().unwrap_or(text);
        self.text.push_str(&said.to_lowercase());
        self.text.push('\n');
    }
}

/// `stream_options.include_usage` is about `stream_options`.
fn root(name: &str) -> String {
    let end = name.find(['.', '[']).unwrap_or(name.len());
    name[..end].trim().to_lowercase()
}

/// Whether a text has this word as a whole.
fn word(text: &str, word: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        !before.is_some_and(inner) && !after.is_some_and(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: [&str; 6] = [
        "stream_options",
        "tool_choice",
        "temperature",
        "max_tokens",
        "stream",
        "tools",
    ];

    #[test]
    fn the_words_of_every_endpoint_name_the_parameter_that_it_refuses() {
        // Status, parameter, body.
        let table = [
            // OpenAI
            r#"400 max_tokens {"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
            r#"400 temperature {"error":{"message":"Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.","param":"temperature"}}"#,
            r#"400 stream {"error":{"message":"Your organization must be verified to stream this model.","param":"stream","code":"unsupported_value"}}"#,
            // Azure
            r#"400 stream_options {"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error","param":null,"code":null}}"#,
            // Anthropic
            r#"400 stream_options {"type":"error","error":{"type":"invalid_request_error","message":"stream_options: Extra inputs are not permitted"}}"#,
            r#"400 temperature {"error":{"message":"`temperature` may only be set to 1 when thinking is enabled"}}"#,
            // vLLM and FastAPI: pydantic, as JSON and as a text of it
            r#"422 stream_options {"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted","input":{"temperature":0,"include_usage":true}}]}"#,
            r#"400 tool_choice {"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'tool_choice'), 'msg': 'Extra inputs are not permitted', 'input': {'stream': True}}]","type":"BadRequestError","param":null,"code":400}"#,
            r#"400 tool_choice {"object":"error","message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set"}"#,
            r#"400 max_tokens {"message":"This model's maximum context length is 4096 tokens and your request has 1000 input tokens; 'max_tokens' is too large: 4096"}"#,
            r#"400 max_tokens {"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (904 in the messages, 4096 in the completion)."}"#,
            // Mistral
            r#"422 stream_options {"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]},"type":"invalid_request_error"}"#,
            // Gemini, which answers with an array
            r#"400 stream_options [{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
            // llama.cpp and Ollama
            r#"500 tools {"error":{"code":500,"message":"tools param requires --jinja flag","type":"server_error"}}"#,
            r#"500 stream {"error":{"code":500,"message":"Cannot use tools with stream","type":"server_error"}}"#,
            r#"400 tools {"error":{"message":"registry.ollama.ai/library/llama2:latest does not support tools","type":"api_error","param":null,"code":null}}"#,
            // LiteLLM and OpenRouter
            r#"400 temperature {"error":{"message":"litellm.UnsupportedParamsError: bedrock does not support parameters: {'temperature': 0}, for model=x. To drop these, set `litellm.drop_params=True`","code":"400"}}"#,
            "400 max_tokens litellm.BadRequestError: extraneous key [max_tokens] is not permitted",
            r#"404 tools {"error":{"message":"No endpoints found that support tool use","code":404}}"#,
        ];
        for row in table {
            let (status, row) = row.split_once(' ').unwrap();
            let (expected, body) = row.split_once(' ').unwrap();
            let mut sent = SENT.to_vec();
            sent.retain(|name| *name != "tool_choice" || expected == "tool_choice");
            let error = ErrorResponse::parse(status.parse().unwrap(), body);
            assert_eq!(error.rejected_param(&sent), Some(expected), "{body}");
        }
    }

    #[test]
    fn other_failures_are_about_no_parameter() {
        for (status, body) in [
            (401, "bad key for stream_options"),
            (
                429,
                r#"{"error":{"message":"too many max_tokens per minute"}}"#,
            ),
            (500, r#"{"error":"stream broke"}"#),
            (503, "temperature not supported"),
            (400, r#"{"error":{"message":"the model m is unknown"}}"#),
            (
                422,
                r#"{"detail":[{"loc":["body","prompt"],"msg":"Field required","input":{"temperature":0,"stream":true}}]}"#,
            ),
            (400, "the upstream has maximum tokens"),
        ] {
            assert_eq!(
                ErrorResponse::parse(status, body).rejected_param(&SENT),
                None,
                "{body}"
            );
        }
    }

    #[test]
    fn only_what_was_sent_can_be_refused() {
        let refusal = ErrorResponse::parse(400, "tool_choice, temperature: not supported");
        assert_eq!(
            refusal.rejected_param(&["temperature"]),
            Some("temperature")
        );
        assert_eq!(refusal.rejected_param(&["stream"]), None);
    }
}
