//! What becomes of the result of a job: the output of its node, or why its attempt failed.

use http::StatusCode;
use jobs::JobStatus;
use serde_json::{Map, Value, json};
use workflow::{Failure, Input, JobRequest, Output, PatchRequest};

/// A job that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: JobStatus,
    /// The text of its result.
    pub(crate) result: Option<Vec<u8>>,
    pub(crate) error: Option<String>,
    /// Whether another attempt may help.
    pub(crate) retryable: bool,
    pub(crate) metrics: Option<Value>,
}

/// The input that it is for its run.
pub(crate) fn input(request: &JobRequest, ended: Ended) -> Input {
    let (key, metrics) = (request.key.clone(), ended.metrics.clone());
    match succeeded(request, ended) {
        Ok((output, patch)) => match refusal(request, &output) {
            // It is tried again as far as that may help. Then the node answers with it.
            Some(failure) => Input::Failed {
                key,
                failure,
                metrics,
                otherwise: Some(Output::inline(output)),
            },
            None => Input::Succeeded {
                key,
                output: Output::inline(output),
                metrics,
                patch,
            },
        },
        Err(failure) => Input::Failed {
            key,
            failure,
            metrics,
            otherwise: None,
        },
    }
}

/// What a server refuses that was asked by a node of the type `http`.
fn refusal(request: &JobRequest, output: &Value) -> Option<Failure> {
    if request.node_type != "http" {
        return None;
    }
    let code = u16::try_from(output["status_code"].as_u64()?).ok()?;
    let status = StatusCode::from_u16(code).ok()?;
    let url = output["url"].as_str().unwrap_or_default();
    (code >= 400).then(|| Failure {
        message: format!("{url} answered {status}"),
        retryable: work::Http::may_pass(status),
    })
}

fn succeeded(request: &JobRequest, ended: Ended) -> Result<(Value, Option<PatchRequest>), Failure> {
    let fail = |message: String, retryable| Failure { message, retryable };
    if ended.status != JobStatus::Succeeded {
        let word = ended.status.as_str();
        let message = ended.error.unwrap_or_else(|| format!("its job is {word}"));
        return Err(fail(message, ended.retryable));
    }
    let text = ended.result.unwrap_or_default();
    let result: Value = match text.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&text)
            .map_err(|error| fail(format!("its result is no JSON: {error}"), false))?,
    };
    let patch = patch(request, &result).map_err(|message| fail(message, true))?;
    Ok((output(request, result, ended.metrics.as_ref()), patch))
}

/// The output of a node by its type.
fn output(request: &JobRequest, result: Value, metrics: Option<&Value>) -> Value {
    match request.node_type.as_str() {
        "http" => response(request, result, metrics),
        "agent" | "tool" | "worker" | "function" => readable(result),
        _ => result,
    }
}

fn response(request: &JobRequest, mut result: Value, metrics: Option<&Value>) -> Value {
    if !result.is_object() {
        // No runner of ours ends a request so.
        return result;
    }
    let body = match result["body"].take() {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        _ => result["body_base64"].take(),
    };
    let took = metrics.and_then(|metrics| metrics["execution_time_ms"].as_f64());
    json!({
        "status": "success",
        "status_code": result["status_code"],
        "headers": result["headers"],
        "body": body,
        "duration_ms": took.unwrap_or(0.0).round(),
        "url": result["url"],
        "method": request.config["method"].as_str().unwrap_or("GET"),
    })
}

/// An answer whose text is JSON has it read as `result` too, so that conditions can look into it.
fn readable(mut result: Value) -> Value {
    let Some(fields) = result.as_object_mut() else {
        return result;
    };
    let name = if fields.contains_key("result") {
        "result"
    } else {
        "output"
    };
    let Some(Value::String(text)) = fields.get(name) else {
        return result;
    };
    let begins = text.trim_start().as_bytes().first();
    let read = match begins {
        Some(b'{' | b'[') => serde_json::from_str(text).ok(),
        _ => None,
    };
    let read = read.unwrap_or_else(|| Value::String(text.clone()));
    fields.insert("result".to_owned(), read);
    result
}

/// The patch that an agent's answer asks for, in its metadata `workflow_patch`: operations, or an object
/// that has them.
fn patch(request: &JobRequest, result: &Value) -> Result<Option<PatchRequest>, String> {
    let asked = match &result["metadata"]["workflow_patch"] {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| format!("metadata.workflow_patch is no JSON: {error}"))?,
        other => other.clone(),
    };
    let fields = match asked {
        Value::Array(_) => Map::from_iter([("operations".to_owned(), asked)]),
        Value::Object(fields) => fields,
        _ => {
            let message = "metadata.workflow_patch: give operations, or an object with them";
            return Err(message.to_owned());
        }
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let agent = result["metadata"]["agent_id"].as_str();
    Ok(Some(PatchRequest {
        operations: fields.get("operations").cloned().unwrap_or_default(),
        description: text("description").unwrap_or_default().to_owned(),
        author: agent.unwrap_or(&request.node_id).to_owned(),
        node_id: Some(request.node_id.clone()),
        if_version: fields.get("if_version").and_then(Value::as_u64),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(node_type: &str) -> JobRequest {
        JobRequest {
            key: "r.n.0.1".to_owned(),
            node_id: "n".to_owned(),
            node_type: node_type.to_owned(),
            config: json!({"method": "PUT"}),
            timeout_ms: 1,
            deadline: None,
            queue: None,
            priority: 3,
            delay_ms: 0,
        }
    }

    fn ended(result: &Value) -> Ended {
        Ended {
            status: JobStatus::Succeeded,
            result: Some(result.to_string().into_bytes()),
            error: None,
            retryable: false,
            metrics: Some(json!({"execution_time_ms": 12.3})),
        }
    }

    #[test]
    fn http_answers_as_its_predecessor_did() {
        let result = json!({"status_code": 201, "url": "http://h/", "headers": {"a": "b"},
                            "redirects": 0, "body": "{\"x\":1}"});
        let input = input(&request("http"), ended(&result));
        let Input::Succeeded { output, .. } = input else {
            panic!("it succeeded");
        };
        let expected = json!({"status": "success", "status_code": 201, "headers": {"a": "b"},
            "body": {"x": 1}, "duration_ms": 12.0, "url": "http://h/", "method": "PUT"});
        assert_eq!(*output.value, expected);
    }

    #[test]
    fn http_that_is_refused_is_tried_again_where_that_may_help_and_answers_at_last() {
        for (code, retryable) in [(404, false), (429, true), (503, true), (400, false)] {
            let result =
                json!({"status_code": code, "url": "http://h/", "headers": {}, "body": "no"});
            let input = input(&request("http"), ended(&result));
            let Input::Failed {
                failure,
                otherwise: Some(output),
                ..
            } = input
            else {
                panic!("{code} is refused");
            };
            assert_eq!(failure.retryable, retryable, "{code}");
            assert!(failure.message.contains(&code.to_string()), "{failure:?}");
            assert_eq!(output.value["status_code"], code);
            assert_eq!(
                (&output.value["status"], &output.value["body"]),
                (&json!("success"), &json!("no"))
            );
        }
        let result = json!({"status_code": 503, "url": "http://h/"});
        let input = input(&request("call"), ended(&result));
        assert!(matches!(input, Input::Succeeded { .. }));
    }

    #[test]
    fn an_agent_patches_by_its_metadata() {
        let operations = json!([{"op": "add", "path": "/nodes/-", "value": {}}]);
        for text in [
            operations.to_string(),
            json!({"operations": operations, "description": "d"}).to_string(),
        ] {
            let result = json!({"output": "{\"score\": 7}", "success": true,
                "metadata": {"workflow_patch": text, "agent_id": "agent-1"}});
            let input = input(&request("agent"), ended(&result));
            let Input::Succeeded { patch, output, .. } = input else {
                panic!("it succeeded");
            };
            let patch = patch.unwrap();
            assert_eq!(patch.operations, operations);
            assert_eq!(
                (patch.author.as_str(), patch.node_id.as_deref()),
                ("agent-1", Some("n"))
            );
            assert_eq!(output.value["result"]["score"], 7);
        }
        let result = json!({"output": "", "metadata": {"workflow_patch": "{"}});
        let input = input(&request("agent"), ended(&result));
        assert!(matches!(input, Input::Failed { failure, .. } if failure.retryable));
    }

    #[test]
    fn a_dead_job_failed_as_it_says() {
        let dead = Ended {
            status: JobStatus::Dead,
            result: None,
            error: Some("UNAVAILABLE: x".to_owned()),
            retryable: true,
            metrics: None,
        };
        let input = input(&request("call"), dead);
        let Input::Failed { failure, .. } = input else {
            panic!("it failed");
        };
        assert_eq!(
            (failure.message.as_str(), failure.retryable),
            ("UNAVAILABLE: x", true)
        );
    }
}
