//! The schemas of agents, workers and tools, whose parameters travel as texts.

use proto::agentplatform::ToolParameter;
use serde_json::{Map, Value, json};

/// What an agent takes.
#[must_use]
pub fn agent_input_schema() -> Value {
    let properties = json!({
        "input": {"type": "string", "description": "The task, in words or as the agent's description says"},
        "parameters": {"type": "object", "additionalProperties": {"type": "string"},
            "description": "Parameters of the task, by name"},
        "session_id": session(),
    });
    json!({"type": "object", "properties": properties, "required": ["input"],
        "additionalProperties": false})
}

/// What a worker takes: its parameters beside `input` and `session_id`.
#[must_use]
pub fn worker_input_schema(parameters: &[ToolParameter]) -> Value {
    let (mut properties, required) = agentkit::parameters_schema(parameters);
    let input = json!({"type": "string", "description": "The task, in words"});
    properties.entry("input").or_insert(input);
    properties.entry("session_id").or_insert_with(session);
    closed(&properties, &required)
}

/// What an operation of a tool takes: its parameters beside `session_id`. A tool that lists no operations
/// has it named by `operation`.
#[must_use]
pub fn operation_input_schema(parameters: &[ToolParameter], names_operation: bool) -> Value {
    let (mut properties, mut required) = agentkit::parameters_schema(parameters);
    properties.entry("session_id").or_insert_with(session);
    if names_operation {
        let operation = json!({"type": "string",
            "description": "What to do, as the tool's description says"});
        properties.insert("operation".to_owned(), operation);
        required.retain(|name| name != "operation");
        required.insert(0, "operation".to_owned());
    }
    let mut schema = closed(&properties, &required);
    if names_operation && parameters.is_empty() {
        // It describes none, and may take some.
        schema["additionalProperties"] = json!({"type": "string"});
    }
    schema
}

/// What an operation of a tool answers, by the schema of its result as the tool gives it. What is
/// structured is an object, so a list is its `result`. `None` for a text that is no schema of either.
#[must_use]
pub fn operation_output_schema(text: &str) -> Option<Value> {
    let schema: Value = serde_json::from_str(text).ok()?;
    match schema["type"].as_str()? {
        "object" => Some(schema),
        "array" => Some(
            json!({"type": "object", "properties": {"result": schema}, "required": ["result"]}),
        ),
        _ => None,
    }
}

/// What agents and workers answer.
#[must_use]
pub fn task_output_schema() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({"type": "object", "properties": {
        "output": text("The answer"),
        "metadata": {"type": "object", "additionalProperties": {"type": "string"},
            "description": "Facts about the answer"},
        "task_id": text("The task's id"),
        "session_id": text("The session, where there is one"),
    }, "required": ["output"]})
}

fn session() -> Value {
    json!({"type": "string", "description": "The session that the call belongs to; none by default"})
}

fn closed(properties: &Map<String, Value>, required: &[String]) -> Value {
    let mut schema =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
