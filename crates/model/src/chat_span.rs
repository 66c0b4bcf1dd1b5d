//! The span of one request to a model, its retries included, as OpenTelemetry's conventions for
//! generative AI name it. What was asked and answered is in it only where `trace_content` says so.

use reqwest::Url;
use serde_json::{Value, json};
use telemetry::{ScopedSpan, SpanKind, trace_content};

use crate::{
    Error, ModelKeys,
    client::Round,
    stream::Completion,
    url::is_azure,
    wire::{Message, ToolCall},
};

/// Begins it.
pub(crate) fn begin(keys: &ModelKeys, url: &Url, round: Round<'_>) -> ScopedSpan {
    let name = format!("chat {}", keys.model_name);
    let mut span = ScopedSpan::begin(name, SpanKind::Client);
    span.record(|fields| {
        let azure = is_azure(url);
        let provider = if azure { "azure.ai.openai" } else { "openai" };
        fields.text("gen_ai.operation.name", "chat");
        fields.text("gen_ai.provider.name", provider);
        fields.text("gen_ai.request.model", &keys.model_name);
        fields.number("gen_ai.request.max_tokens", keys.model_max_tokens.into());
        if let Some(host) = url.host_str() {
            fields.text("server.address", host);
        }
        if let Some(port) = url.port_or_known_default() {
            fields.number("server.port", port.into());
        }
        if trace_content() {
            let asked: Value = round.messages.iter().map(message).collect();
            fields.text("gen_ai.input.messages", &asked.to_string());
        }
    });
    span
}

/// Notes how it ended.
pub(crate) fn end(span: &mut ScopedSpan, answer: &Result<Completion, Error>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return span.fail(&error_type(error)),
    };
    span.record(|fields| {
        if let Some((sent, written)) = answer.tokens {
            let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
            fields.number("gen_ai.usage.input_tokens", count(sent));
            fields.number("gen_ai.usage.output_tokens", count(written));
        }
        if let Some(finish) = &answer.finish {
            fields.texts("gen_ai.response.finish_reasons", &[finish]);
        }
        if trace_content() {
            let mut parts = text(&answer.content);
            parts.extend(answer.calls.iter().map(call));
            let finish = answer.finish.as_deref().unwrap_or("stop");
            let said = json!([{"role": "assistant", "parts": parts, "finish_reason": finish}]);
            fields.text("gen_ai.output.messages", &said.to_string());
        }
    });
}

fn error_type(error: &Error) -> String {
    match error {
        Error::Rejected { status, .. } => status.to_string(),
        Error::Timeout => "timeout".to_owned(),
        Error::Unavailable(_) | Error::RetryAfter(..) => "unavailable".to_owned(),
        Error::InvalidResponse(_) => "invalid_response".to_owned(),
        Error::InvalidConfig { .. } | Error::TooManyRounds(_) => "_OTHER".to_owned(),
    }
}

fn message(message: &Message) -> Value {
    let content = message.content.as_deref().unwrap_or_default();
    let mut parts = match &message.tool_call_id {
        Some(id) => vec![json!({"type": "tool_call_response", "id": id, "response": content})],
        None => text(content),
    };
    parts.extend(message.tool_calls.iter().map(call));
    json!({"role": message.role, "parts": parts})
}

fn text(content: &str) -> Vec<Value> {
    let part = json!({"type": "text", "content": content});
    (!content.is_empty()).then_some(part).into_iter().collect()
}

fn call(call: &ToolCall) -> Value {
    let (name, arguments) = (&call.function.name, &call.function.arguments);
    json!({"type": "tool_call", "id": call.id, "name": name, "arguments": arguments})
}
