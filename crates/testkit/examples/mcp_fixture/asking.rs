//! Tools that ask their client for something before they answer.

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, InputRequest,
        InputRequiredResult, InputResponses, ProtocolVersion,
    },
    service::{RequestContext, ServiceError},
};
use serde_json::{Map, Value, json};

use crate::{Fixture, of, tools::text};

/// A form with one field.
pub(crate) fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema =
        json!({"type": "object", "properties": { field: {"type": kind} }, "required": [field]});
    json!({"method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

pub(crate) fn sampling(prompt: &str, max_tokens: u32) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": prompt}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": max_tokens}})
}

fn roots() -> Value {
    json!({ "method": "roots/list" })
}

/// The result that asks.
pub(crate) fn ask(requests: Value, state: Option<String>) -> InputRequiredResult {
    InputRequiredResult::new(Some(of(requests)), state)
}

/// How many times in a row a client is asked.
pub(crate) const ROUNDS: usize = 5;

/// Whether a client is asked by results: the modern era has no requests of servers.
pub(crate) fn asks_by_result(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version() == Some(ProtocolVersion::V_2026_07_28)
}

/// Asks by requests, one after the other, what a result would ask for.
pub(crate) async fn by_requests(
    context: &RequestContext<RoleServer>,
    asked: InputRequiredResult,
) -> Result<(Option<InputResponses>, Option<String>), ErrorData> {
    let refused = |error: ServiceError| {
        ErrorData::internal_error(format!("the client does not answer: {error}"), None)
    };
    let mut answers = InputResponses::new();
    for (name, request) in asked.input_requests.unwrap_or_default() {
        let peer = &context.peer;
        let answer = match request {
            InputRequest::Elicitation(request) => {
                let result = peer.create_elicitation(request.params).await;
                serde_json::to_value(result.map_err(refused)?)
            }
            InputRequest::CreateMessage(request) => {
                let result = peer.create_message(request.params).await;
                serde_json::to_value(result.map_err(refused)?)
            }
            _ => serde_json::to_value(peer.list_roots().await.map_err(refused)?),
        };
        answers.insert(name, answer.unwrap_or_default());
    }
    Ok((Some(answers), asked.request_state))
}

pub(crate) fn endless() -> ErrorData {
    ErrorData::internal_error(format!("{ROUNDS} questions are enough"), None)
}

/// An answer, where it is an object as every answer is.
pub(crate) fn answer(responses: Option<&InputResponses>, name: &str) -> Option<Value> {
    let answer = responses?.get(name)?;
    answer.is_object().then(|| answer.clone())
}

impl Fixture {
    pub(crate) fn ask_or_answer(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let responses = request.input_responses.as_ref();
        let answered = |name: &str| answer(responses, name);
        let name = || form("What is your name?", "name", "string");
        let sealed = |stage: u8| {
            let sealed = self.seal.seal_json(&json!({ "stage": stage }));
            sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))
        };
        match request
            .name
            .trim_start_matches("test_input_required_result_")
        {
            "elicitation" => Ok(match answered("user_name") {
                Some(answer) => {
                    let name = answer["content"]["name"].as_str().unwrap_or_default();
                    text(&format!("Hello, {name}!"))
                }
                None => ask(json!({ "user_name": name() }), None).into(),
            }),
            "sampling" => Ok(match answered("capital_question") {
                Some(answer) => text(&format!("The model says: {}", answer["content"])),
                None => {
                    let question = sampling("What is the capital of France?", 100);
                    ask(json!({ "capital_question": question }), None).into()
                }
            }),
            "list_roots" => Ok(match answered("client_roots") {
                Some(answer) => text(&format!("The roots are {}", answer["roots"])),
                None => ask(json!({ "client_roots": roots() }), None).into(),
            }),
            "request_state" | "tampered_state" => match &request.request_state {
                None => {
                    let confirm = form("Please confirm", "ok", "boolean");
                    Ok(ask(json!({ "confirm": confirm }), Some(sealed(1)?)).into())
                }
                Some(state) => self.stage(state).map(|_| text("state-ok")),
            },
            "multiple_inputs" => {
                let requests = json!({"user_name": name(), "greeting": sampling("Generate a greeting", 50),
                    "client_roots": roots()});
                let names = ["user_name", "greeting", "client_roots"];
                if !names.iter().all(|name| answered(name).is_some()) {
                    return Ok(ask(requests, Some(sealed(1)?)).into());
                }
                if let Some(state) = &request.request_state {
                    self.stage(state)?;
                }
                Ok(text("All three answers are here"))
            }
            "multi_round" => {
                let stage = match &request.request_state {
                    Some(state) => self.stage(state)?,
                    None => 0,
                };
                let one = form("Step 1: What is your name?", "name", "string");
                let two = form("Step 2: What is your favorite color?", "color", "string");
                Ok(match (stage, answered("step1"), answered("step2")) {
                    (1, Some(_), _) => ask(json!({ "step2": two }), Some(sealed(2)?)).into(),
                    (2, _, Some(_)) => text("Both steps are done"),
                    (2, _, None) => ask(json!({ "step2": two }), Some(sealed(2)?)).into(),
                    _ => ask(json!({ "step1": one }), Some(sealed(1)?)).into(),
                })
            }
            "capabilities" => {
                let can = context.client_capabilities().unwrap_or_default();
                let can = serde_json::to_value(can).unwrap_or_default();
                let mut requests = Map::new();
                for (capability, key, request) in [
                    ("elicitation", "user_name", name()),
                    ("sampling", "greeting", sampling("Generate a greeting", 50)),
                    ("roots", "client_roots", roots()),
                ] {
                    if can.get(capability).is_some() {
                        requests.insert(key.to_owned(), request);
                    }
                }
                Ok(match requests.is_empty() || responses.is_some() {
                    true => text("Nothing more to ask"),
                    false => ask(requests.into(), None).into(),
                })
            }
            other => Err(ErrorData::invalid_params(
                format!("no tool is called {other}"),
                None,
            )),
        }
    }

    /// How far a client is, by what it gives back.
    fn stage(&self, sealed: &str) -> Result<u64, ErrorData> {
        let broken =
            || ErrorData::invalid_params("the requestState is not what was given out", None);
        let opened = self.seal.open(sealed).map_err(|_| broken())?;
        let state: Value = serde_json::from_slice(opened.as_ref()).map_err(|_| broken())?;
        state["stage"].as_u64().ok_or_else(broken)
    }
}

/// The refusal of a client that has not declared what a tool needs.
pub(crate) fn lacks(capabilities: Value) -> ErrorData {
    ErrorData::missing_required_client_capability(of::<ClientCapabilities>(capabilities))
}
