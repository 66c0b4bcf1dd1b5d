//! Tools that ask their client: by requests in earlier revisions, by results that come again in
//! 2026-07-28.

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResponse, ClientCapabilities, InputResponses},
    service::RequestContext,
};
use serde_json::{Map, Value, json};

use crate::fixture::{Fixture, content, input_required, read, text};

/// The answer to one question; `None` where there is none, or what cannot be one.
pub(crate) fn answer(answers: Option<&InputResponses>, key: &str) -> Option<Value> {
    answers?.get(key).filter(|it| it.is_object()).cloned()
}

/// A question by a form with one text.
pub(crate) fn form(message: &str, field: &str) -> Value {
    let schema =
        json!({"type": "object", "properties": {field: {"type": "string"}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}})
}

fn sampling(prompt: &str) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}})
}

fn roots() -> Value {
    json!({"method": "roots/list"})
}

fn confirmation() -> Value {
    let schema =
        json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
    json!({"method": "elicitation/create", "params": {"message": "Please confirm", "requestedSchema": schema}})
}

/// The forms of the tools of earlier revisions.
fn schema(tool: &str) -> Value {
    match tool {
        "test_elicitation" => {
            json!({"type": "object", "required": ["username", "email"], "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"}}})
        }
        "test_elicitation_sep1034_defaults" => json!({"type": "object", "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": true}}}),
        _ => json!({"type": "object", "properties": {
            "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
            "titledSingle": {"type": "string", "oneOf": [
                {"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"}]},
            "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"]},
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
            "titledMulti": {"type": "array", "items": {"anyOf": [
                {"const": "value1", "title": "First Choice"}, {"const": "value2", "title": "Second Choice"},
                {"const": "value3", "title": "Third Choice"}]}}}}),
    }
}

fn tampered() -> ErrorData {
    ErrorData::invalid_params("requestState is not what this server has sealed", None)
}

/// Calls a tool that asks.
pub(crate) async fn call(
    fixture: &Fixture,
    request: CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let answers = request.input_responses.as_ref();
    let given = |key: &str| answer(answers, key);
    let arguments: Map<String, Value> = request.arguments.clone().unwrap_or_default();
    let argument = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let ask = |requests: Value| Ok(input_required(requests, None)?.into());
    let sealed = |state: Value| {
        let sealed = fixture.codec().seal_json(&state);
        sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    };
    let state = request.request_state.as_deref();
    let opened = state.map(|state| {
        fixture
            .codec()
            .open_json::<Value>(state)
            .map_err(|_| tampered())
    });
    let can = context.meta.client_capabilities().unwrap_or_default();
    match request.name.as_ref() {
        "test_sampling" => {
            let asked = read(sampling(argument("prompt"))["params"].clone())?;
            match context.peer.create_message(asked).await {
                Ok(answer) => {
                    let answer = serde_json::to_value(answer).unwrap_or_default();
                    let said = answer
                        .pointer("/content/text")
                        .or_else(|| answer.pointer("/content/0/text"));
                    text(format!(
                        "LLM response: {}",
                        said.and_then(Value::as_str).unwrap_or_default()
                    ))
                }
                Err(error) => failed(&error.to_string()),
            }
        }
        tool @ ("test_elicitation"
        | "test_elicitation_sep1034_defaults"
        | "test_elicitation_sep1330_enums") => {
            let message = if tool == "test_elicitation" {
                argument("message")
            } else {
                "Please fill in"
            };
            let asked = read(json!({"message": message, "requestedSchema": schema(tool)}))?;
            match context.peer.create_elicitation(asked).await {
                Ok(answer) => {
                    let answer = serde_json::to_value(answer).unwrap_or_default();
                    let (action, content) = (
                        answer["action"].as_str().unwrap_or_default(),
                        &answer["content"],
                    );
                    let about = if tool == "test_elicitation" {
                        "User response"
                    } else {
                        "Elicitation completed"
                    };
                    text(format!("{about}: action={action}, content={content}"))
                }
                Err(error) => failed(&error.to_string()),
            }
        }
        "test_missing_capability" => match can.sampling {
            Some(_) => text("The client can sample"),
            None => {
                let needed: ClientCapabilities = read(json!({"sampling": {}}))?;
                Err(ErrorData::missing_required_client_capability(needed))
            }
        },
        "test_streaming_elicitation" => match given("value") {
            Some(_) => text("Streaming elicitation completed"),
            None => ask(json!({"value": form("Provide a value", "value")})),
        },
        "test_input_required_result_elicitation" => match given("user_name") {
            Some(answer) => text(format!(
                "Hello, {}!",
                answer["content"]["name"].as_str().unwrap_or("friend")
            )),
            None => ask(json!({"user_name": form("What is your name?", "name")})),
        },
        "test_input_required_result_sampling" => match given("capital_question") {
            Some(answer) => text(format!("The model says {}", answer["content"]["text"])),
            None => ask(json!({"capital_question": sampling("What is the capital of France?")})),
        },
        "test_input_required_result_list_roots" => match given("client_roots") {
            Some(answer) => text(format!("The roots are {}", answer["roots"])),
            None => ask(json!({"client_roots": roots()})),
        },
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => match opened {
            Some(opened) => {
                opened?;
                text("state-ok")
            }
            None => Ok(input_required(
                json!({"confirm": confirmation()}),
                Some(sealed(json!({"at": 1}))?),
            )?
            .into()),
        },
        "test_input_required_result_multiple_inputs" => {
            if let Some(opened) = opened {
                opened?;
            }
            let all = ["user_name", "greeting", "client_roots"]
                .iter()
                .all(|key| given(key).is_some());
            if all && state.is_some() {
                return text("All inputs are there");
            }
            let requests = json!({"user_name": form("What is your name?", "name"),
                "greeting": sampling("Generate a greeting"), "client_roots": roots()});
            Ok(input_required(requests, Some(sealed(json!({"at": 1}))?))?.into())
        }
        "test_input_required_result_multi_round" => {
            let round = match opened {
                Some(opened) => opened?["round"].as_u64().unwrap_or(0),
                None => 0,
            };
            let asked = match round {
                0 => json!({"step1": form("Step 1: What is your name?", "name")}),
                1 => json!({"step2": form("Step 2: What is your favorite color?", "color")}),
                _ => return text("Both steps are done"),
            };
            Ok(input_required(asked, Some(sealed(json!({"round": round + 1}))?))?.into())
        }
        "test_input_required_result_capabilities" => {
            if answers.is_some() {
                return text("The client has answered what it can");
            }
            let mut requests = Map::new();
            if can.elicitation.is_some() {
                requests.insert("user_name".to_owned(), form("What is your name?", "name"));
            }
            if can.sampling.is_some() {
                requests.insert("greeting".to_owned(), sampling("Generate a greeting"));
            }
            if can.roots.is_some() {
                requests.insert("client_roots".to_owned(), roots());
            }
            match requests.is_empty() {
                true => text("The client can answer nothing"),
                false => ask(Value::Object(requests)),
            }
        }
        other => Err(ErrorData::invalid_params(
            format!("Unknown tool: {other}"),
            None,
        )),
    }
}

fn failed(why: &str) -> Result<CallToolResponse, ErrorData> {
    let CallToolResponse::Complete(mut result) = content(json!([{"type": "text", "text": why}]))?
    else {
        return Err(ErrorData::internal_error("no result", None));
    };
    result.is_error = Some(true);
    Ok(result.into())
}
