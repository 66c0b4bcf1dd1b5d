//! What does not change: resources, prompts, pictures.

use rmcp::{
    ErrorData,
    model::{
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceResponse, ReadResourceResult,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{asking, of};

/// A red pixel.
pub(crate) const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// Silence.
pub(crate) const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// A result that says for how long it is true.
pub(crate) fn cached<T: DeserializeOwned>(mut result: Value) -> T {
    result["resultType"] = "complete".into();
    result["ttlMs"] = 60_000.into();
    result["cacheScope"] = "public".into();
    of(result)
}

pub(crate) fn resources() -> ListResourcesResult {
    cached(json!({"resources": [
        {"uri": "test://static-text", "name": "Text", "description": "A text that stays",
            "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "Picture", "description": "A picture that stays",
            "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "Watched", "description": "One to subscribe to",
            "mimeType": "text/plain"},
    ]}))
}

pub(crate) fn templates() -> ListResourceTemplatesResult {
    cached(json!({"resourceTemplates": [
        {"uriTemplate": "test://template/{id}/data", "name": "Template",
            "description": "A resource for each id", "mimeType": "application/json"},
    ]}))
}

pub(crate) fn resource(uri: &str) -> Result<ReadResourceResponse, ErrorData> {
    let id = uri
        .strip_prefix("test://template/")
        .and_then(|rest| rest.strip_suffix("/data"));
    let contents = match (uri, id) {
        ("test://static-text", _) => json!({"uri": uri, "mimeType": "text/plain",
            "text": "This is the content of the static text resource."}),
        ("test://static-binary", _) => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        ("test://watched-resource", _) => {
            json!({"uri": uri, "mimeType": "text/plain", "text": "watched"})
        }
        (_, Some(id)) => {
            let data =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
        }
        _ => {
            let data = json!({ "uri": uri });
            return Err(ErrorData::resource_not_found(
                "there is no such resource",
                Some(data),
            ));
        }
    };
    let result: ReadResourceResult = cached(json!({ "contents": [contents] }));
    Ok(result.into())
}

pub(crate) fn prompts() -> ListPromptsResult {
    let argument =
        |name: &str, about: &str| json!({"name": name, "description": about, "required": true});
    cached(json!({"prompts": [
        {"name": "test_simple_prompt", "description": "A prompt without arguments"},
        {"name": "test_prompt_with_arguments", "description": "A prompt with two arguments",
            "arguments": [argument("arg1", "the first"), argument("arg2", "the second")]},
        {"name": "test_prompt_with_embedded_resource", "description": "A prompt with a resource in it",
            "arguments": [argument("resourceUri", "which resource")]},
        {"name": "test_prompt_with_image", "description": "A prompt with a picture"},
        {"name": "test_input_required_result_prompt", "description": "A prompt that asks back"},
    ]}))
}

pub(crate) fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
    let argument = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
    let text = |text: &str| json!({"role": "user", "content": {"type": "text", "text": text}});
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1"), argument("arg2"));
            vec![text(&format!(
                "Prompt with arguments: arg1='{one}', arg2='{two}'"
            ))]
        }
        "test_prompt_with_embedded_resource" => {
            let resource = json!({"uri": argument("resourceUri"), "mimeType": "text/plain",
                "text": "Embedded resource content for testing."});
            vec![
                json!({"role": "user", "content": {"type": "resource", "resource": resource}}),
                text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => {
            let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
            vec![
                json!({"role": "user", "content": image}),
                text("Please analyze the image above."),
            ]
        }
        "test_input_required_result_prompt" => {
            let answer = asking::answer(request.input_responses.as_ref(), "user_context");
            let Some(answer) = answer else {
                let form = asking::form("What context should the prompt use?", "context", "string");
                return Ok(asking::ask(json!({ "user_context": form }), None).into());
            };
            let context = answer["content"]["context"].as_str().unwrap_or_default();
            vec![text(&format!("Use this context: {context}"))]
        }
        other => {
            let message = format!("no prompt is called {other}");
            return Err(ErrorData::invalid_params(message, None));
        }
    };
    let result: GetPromptResult = of(json!({ "messages": messages, "resultType": "complete" }));
    Ok(result.into())
}
