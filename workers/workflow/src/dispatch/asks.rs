//! What a node asks for: a row for each type of node that runs somewhere else.

use std::collections::BTreeMap;

use discovery::{Catalog, ServiceKind};
use serde_json::{Map, Value, json};
use work::{Call, Http, MAX_TIMEOUT, Pipeline};
use workflow::JobRequest;

use crate::ids::run_of;

pub(super) const EXECUTE_TASK: &str = "agentplatform.AgentService/ExecuteTask";
const EXECUTE_TOOL: &str = "agentplatform.ToolService/ExecuteTool";
const PROCESS_TASK: &str = "agentplatform.TaskWorker/ProcessTask";

/// A row: the type of a node, and what it asks for.
struct NodeKind {
    name: &'static str,
    ask: fn(&JobRequest) -> Result<Ask, String>,
}

/// Every type of node that is a job.
const NODE_KINDS: [NodeKind; 7] = [
    NodeKind {
        name: "agent",
        ask: agent,
    },
    NodeKind {
        name: "tool",
        ask: |request| match explicit_call(&request.config) {
            Some(call) => call,
            None => tool(request),
        },
    },
    NodeKind {
        name: "worker",
        ask: |request| match explicit_call(&request.config) {
            Some(call) => call,
            None => worker(request),
        },
    },
    NodeKind {
        name: "call",
        ask: |request| {
            explicit_call(&request.config)
                .unwrap_or_else(|| Err("config: give service, method and payload".to_owned()))
        },
    },
    NodeKind {
        name: "pipeline",
        ask: pipeline,
    },
    NodeKind {
        name: "http",
        ask: http,
    },
    NodeKind {
        name: "function",
        ask: function,
    },
];

/// What a node asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// A call of a method.
    Call(Call),
    /// A request to the outside.
    Http(Http),
    /// A run of the pipeline.
    Pipeline(Pipeline),
    /// A task for the agent that suits it best.
    AnyAgent(Map<String, Value>),
    /// A function by its name: of whoever serves it.
    Named(String, Map<String, Value>),
}

/// The call of a function that is named alone: `service/operation`, or a service.
pub(super) fn named(
    catalog: Option<&Catalog>,
    name: &str,
    request: &JobRequest,
    parameters: &Map<String, Value>,
) -> Option<Call> {
    let (service, operation) = name.split_once('/').unwrap_or((name, name));
    let services = &catalog?.services;
    let tags = discovery::resolve(service, |name| services.get(name), |_| None)?;
    let mut message = json!({
        "session_id": run_of(&request.key),
        "parameters": texts(parameters),
    });
    let method = match ServiceKind::from_tags(tags) {
        ServiceKind::Tool => {
            message["tool_id"] = service.into();
            message["operation"] = operation.into();
            EXECUTE_TOOL
        }
        kind => {
            message["task_id"] = request.key.as_str().into();
            message["agent_id"] = service.into();
            let input = parameters.get("input");
            message["input"] = input.map_or_else(|| name.to_owned(), text_of).into();
            match kind {
                ServiceKind::Worker => PROCESS_TASK,
                _ => EXECUTE_TASK,
            }
        }
    };
    Some(Call::json(service, method, object(message)))
}

pub(super) fn ask(request: &JobRequest) -> Result<Ask, String> {
    let row = NODE_KINDS.iter().find(|row| row.name == request.node_type);
    match row {
        Some(row) => (row.ask)(request),
        None => Err(format!(
            "{} is no type of node that is a job",
            request.node_type
        )),
    }
}

fn agent(request: &JobRequest) -> Result<Ask, String> {
    let config = &request.config;
    if let Some(call) = explicit_call(config) {
        return call;
    }
    let task = first(config, &["task", "prompt", "input"]).ok_or("config.task: is missing")?;
    let mut message = task_message(request, "parameters");
    message.insert("input".to_owned(), text_of(task).into());
    message.insert("tool_ids".to_owned(), list_of_texts(&config["tool_ids"]));
    let Some(agent) = name_in(config, &["agent", "agent_id", "service"]) else {
        return Ok(Ask::AnyAgent(message));
    };
    message.insert("agent_id".to_owned(), agent.into());
    Ok(Ask::Call(Call::json(agent, EXECUTE_TASK, message)))
}

fn worker(request: &JobRequest) -> Result<Ask, String> {
    let config = &request.config;
    let worker = name_in(config, &["worker", "worker_id", "agent_id", "service"])
        .ok_or("config.worker: is missing")?;
    let mut message = task_message(request, "parameters");
    if let Some(task) = first(config, &["task", "prompt", "input"]) {
        message.insert("input".to_owned(), text_of(task).into());
    }
    message.insert("agent_id".to_owned(), worker.into());
    Ok(Ask::Call(Call::json(worker, PROCESS_TASK, message)))
}

fn tool(request: &JobRequest) -> Result<Ask, String> {
    let config = &request.config;
    let tool = name_in(config, &["tool", "tool_id", "service"]).ok_or("config.tool: is missing")?;
    let operation = name_in(config, &["operation"]).ok_or("config.operation: is missing")?;
    let message = json!({
        "tool_id": tool,
        "operation": operation,
        "parameters": parameters(&config["parameters"]),
        "session_id": run_of(&request.key),
    });
    Ok(Ask::Call(Call::json(tool, EXECUTE_TOOL, object(message))))
}

fn pipeline(request: &JobRequest) -> Result<Ask, String> {
    let goal = first(&request.config, &["goal", "task"]).ok_or("config.goal: is missing")?;
    // Each attempt goes on in the folder of the one before.
    let node = request.key.rsplit_once('.').map_or("", |(node, _)| node);
    Ok(Ask::Pipeline(Pipeline::new(&text_of(goal), Some(node))))
}

fn http(request: &JobRequest) -> Result<Ask, String> {
    let config = &request.config;
    let url = name_in(config, &["url"]).ok_or("config.url: is missing")?;
    let mut headers: BTreeMap<String, String> = match &config["headers"] {
        Value::Object(headers) => headers
            .iter()
            .map(|(name, value)| (name.clone(), text_of(value)))
            .collect(),
        _ => BTreeMap::new(),
    };
    let body = match &config["payload"] {
        Value::Null => None,
        payload => {
            let has_type = headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("content-type"));
            if !has_type {
                headers.extend(json_header());
            }
            Some(text_of(payload))
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "it is at most 30 s")]
    let timeout = (request.timeout_ms as f64 / 1000.0).clamp(0.001, MAX_TIMEOUT);
    Ok(Ask::Http(Http {
        url: url.to_owned(),
        method: config["method"].as_str().unwrap_or("GET").to_owned(),
        headers,
        body,
        timeout,
        // The node answers with it, and what follows decides.
        any_status: true,
    }))
}

fn function(request: &JobRequest) -> Result<Ask, String> {
    let config = &request.config;
    if let Some(call) = explicit_call(config) {
        return call;
    }
    let name = name_in(config, &["function_name", "function", "action"])
        .ok_or("config: give service and method, or function_name")?;
    let given = first(config, &["parameters", "payload", "input"]);
    let parameters = match given {
        Some(Value::Object(fields)) => fields.clone(),
        Some(other) => Map::from_iter([("input".to_owned(), other.clone())]),
        None => Map::new(),
    };
    Ok(Ask::Named(name.to_owned(), parameters))
}

/// A call whose service and method the node names itself.
fn explicit_call(config: &Value) -> Option<Result<Ask, String>> {
    let (service, method) = (config["service"].as_str()?, config["method"].as_str()?);
    let metadata = config["metadata"].as_object();
    let metadata = metadata.into_iter().flatten();
    let mut call = match (&config["payload"], config["bytes_base64"].as_str()) {
        (Value::Null, Some(bytes)) => Call {
            bytes_base64: Some(bytes.to_owned()),
            payload: None,
            ..Call::json(service, method, Map::new())
        },
        (Value::Null, None) => Call::json(service, method, Map::new()),
        (Value::Object(payload), _) => Call::json(service, method, payload.clone()),
        _ => return Some(Err("config.payload: has to be an object".to_owned())),
    };
    call.metadata = metadata
        .map(|(name, value)| (name.clone(), text_of(value)))
        .collect();
    Some(Ok(Ask::Call(call)))
}

fn task_message(request: &JobRequest, field: &str) -> Map<String, Value> {
    object(json!({
        "task_id": request.key,
        "parameters": parameters(&request.config[field]),
        "session_id": run_of(&request.key),
    }))
}

pub(super) fn json_header() -> BTreeMap<String, String> {
    BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())])
}

fn first<'a>(config: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names
        .iter()
        .find_map(|name| config.get(name).filter(|value| !value.is_null()))
}

fn name_in<'a>(config: &'a Value, names: &[&str]) -> Option<&'a str> {
    let named = names.iter().find_map(|name| config[name].as_str());
    named.filter(|name| !name.is_empty())
}

/// A value as the text that a message carries: texts as they are, the rest as JSON.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parameters(value: &Value) -> Value {
    match value {
        Value::Object(fields) => texts(fields).into(),
        _ => json!({}),
    }
}

fn texts(fields: &Map<String, Value>) -> Map<String, Value> {
    fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), text_of(value).into()))
        .collect()
}

fn list_of_texts(value: &Value) -> Value {
    let list = value.as_array().into_iter().flatten();
    list.map(text_of).collect::<Vec<_>>().into()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(node_type: &str, config: Value) -> JobRequest {
        JobRequest {
            key: "run-1.node.0.2".to_owned(),
            node_id: "node".to_owned(),
            node_type: node_type.to_owned(),
            config,
            timeout_ms: 5_000,
            deadline: None,
            queue: None,
            priority: 3,
            delay_ms: 0,
        }
    }

    #[test]
    fn each_type_of_node_is_a_job() {
        let table = [
            (
                "agent",
                json!({"task": "write", "agent": "code-agent", "parameters": {"n": 2}}),
                "code-agent",
                EXECUTE_TASK,
                json!({"task_id": "run-1.node.0.2", "input": "write", "agent_id": "code-agent",
                       "parameters": {"n": "2"}, "tool_ids": [], "session_id": "run-1"}),
            ),
            (
                "tool",
                json!({"tool": "weather-tool", "operation": "get", "parameters": {"location": "Rome"}}),
                "weather-tool",
                EXECUTE_TOOL,
                json!({"tool_id": "weather-tool", "operation": "get",
                       "parameters": {"location": "Rome"}, "session_id": "run-1"}),
            ),
            (
                "worker",
                json!({"worker": "itinerary-worker", "parameters": {"days": "2"}}),
                "itinerary-worker",
                PROCESS_TASK,
                json!({"task_id": "run-1.node.0.2", "agent_id": "itinerary-worker",
                       "parameters": {"days": "2"}, "session_id": "run-1"}),
            ),
            (
                "call",
                json!({"service": "agent-echo", "method": "a.B/C", "payload": {"x": 1}}),
                "agent-echo",
                "a.B/C",
                json!({"x": 1}),
            ),
            (
                "function",
                json!({"service": "tool-x", "method": "a.B/D"}),
                "tool-x",
                "a.B/D",
                json!({}),
            ),
        ];
        for (node_type, config, service, method, message) in table {
            let asked = ask(&request(node_type, config)).unwrap();
            let expected = Ask::Call(Call::json(service, method, object(message)));
            assert_eq!(asked, expected, "{node_type}");
        }
    }

    #[test]
    fn an_agent_without_a_name_is_the_best_fit() {
        let asked = ask(&request("agent", json!({"prompt": "review it"}))).unwrap();
        assert!(matches!(asked, Ask::AnyAgent(message) if message["input"] == "review it"));
    }

    #[test]
    fn a_payload_of_http_is_json_unless_a_header_says_otherwise() {
        let config = json!({"url": "http://h/x", "method": "POST", "payload": {"a": 1}});
        let Ask::Http(asked) = ask(&request("http", config)).unwrap() else {
            panic!("http is http");
        };
        assert_eq!(asked.body.as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(asked.headers["content-type"], "application/json");
        assert!((asked.timeout - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_wrong_config_says_which_field() {
        for (node_type, field) in [
            ("agent", "config.task"),
            ("tool", "config.tool"),
            ("worker", "config.worker"),
            ("call", "service"),
            ("pipeline", "config.goal"),
            ("http", "config.url"),
            ("function", "function_name"),
            ("fly", "fly"),
        ] {
            let reason = ask(&request(node_type, json!({}))).unwrap_err();
            assert!(reason.contains(field), "{node_type}: {reason}");
        }
    }
}
