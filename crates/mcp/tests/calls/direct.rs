//! Calls that go straight to the service.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use mesh_mcp::{CallContext, CallOutcome, ToolCaller, ToolKeys, ToolTarget, schema};
use proto::agentplatform::ToolParameter;
use serde_json::{Value, json};
use service::ServerHandle;
use testkit::local;

use super::{Reports, call, call_with, client, echo_tool, keys, text, tool, view};

async fn echo(delay: &str) -> (ServerHandle, ToolCaller, Arc<Memory>) {
    let registry = Arc::new(Memory::new());
    let set = [("delay", delay)];
    let running = local::start(&echo_agent::SPEC, echo_agent::build, &registry, &set).await;
    let caller = ToolCaller::new(client(&registry), None, &keys());
    (running, caller, registry)
}

async fn method(registry: &Arc<Memory>, name: &str) -> mesh_mcp::MeshTool {
    let prepared = client(registry).prepare("agent-echo", name).await.unwrap();
    tool(
        "agent-echo",
        "echo-agent__method",
        ToolTarget::Method(prepared),
    )
}

#[tokio::test]
async fn an_agent_answers_with_text_and_structure() {
    let (running, caller, _) = echo("0s").await;
    let arguments = json!({"input": "hello", "parameters": {"b": 2, "a": "1"}, "session_id": "s"});
    let result = call(&caller, &echo_tool(), arguments).await.unwrap();
    let json = view(&result);
    let output = "Echo Agent Response: hello | Parameters: a=1, b=2";
    assert_eq!(json["content"], json!([{"type": "text", "text": output}]));
    assert_eq!(json["structuredContent"]["output"], output);
    assert_eq!(json["structuredContent"]["session_id"], "s");
    assert_eq!(json["structuredContent"]["metadata"]["task_number"], "1");
    assert_eq!(json["isError"], false);
    assert_eq!(json["_meta"]["mesh.v1/service"], "agent-echo");
    assert_eq!(json["_meta"]["mesh.v1/instance"], running.instance_id);
    let schema = echo_tool().output_schema().unwrap();
    assert!(jsonschema::is_valid(&schema, &json["structuredContent"]));
    for (arguments, problem) in [
        (json!({}), "input: is missing, and required"),
        (json!({"inputt": "x", "input": "y"}), "did you mean input?"),
        (
            json!({"input": "x", "parameters": []}),
            "parameters: give an object of texts",
        ),
    ] {
        let result = call(&caller, &echo_tool(), arguments).await.unwrap();
        let text = text(&result);
        assert!(
            result.is_error && text.starts_with("INVALID_ARGUMENT: ") && text.contains(problem),
            "{text}"
        );
    }
    running.drain().await;
}

#[tokio::test]
async fn a_method_answers_with_its_message() {
    let (running, caller, registry) = echo("0s").await;
    let status = method(&registry, "agentplatform.AgentService/GetStatus").await;
    let result = call(&caller, &status, json!({"agent_id": "x"}))
        .await
        .unwrap();
    let json = view(&result);
    assert_eq!(json["structuredContent"]["status"], "healthy");
    assert_eq!(json["structuredContent"]["active_tasks"], 0);
    let text: Value = serde_json::from_str(json["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, json["structuredContent"]);
    let schema = status.output_schema().unwrap();
    assert!(jsonschema::is_valid(&schema, &json["structuredContent"]));
    running.drain().await;
}

#[tokio::test]
async fn each_message_of_a_stream_is_progress() {
    let (running, caller, registry) = echo("0s").await;
    let stream = method(&registry, "agentplatform.AgentService/StreamTask").await;
    let arguments = json!({"input": "a b c"}).as_object().unwrap().clone();
    let mut reports = Reports::default();
    let context = CallContext::default();
    let outcome = caller
        .call(&stream, arguments, &context, &mut reports)
        .await
        .unwrap();
    let CallOutcome::Result(result) = outcome else {
        panic!("{outcome:?}")
    };
    let json = view(&result);
    let messages = json["structuredContent"]["messages"].as_array().unwrap();
    let words: Vec<_> = messages
        .iter()
        .map(|it| it["content"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["a", "b", "c", "[COMPLETE]"]);
    assert_eq!(json["structuredContent"]["truncated"], false);
    assert_eq!(reports.0.len(), 4);
    assert!(
        reports
            .0
            .windows(2)
            .all(|pair| pair[0].progress < pair[1].progress)
    );
    assert!(
        reports.0[0]
            .message
            .as_ref()
            .unwrap()
            .contains("\"content\":\"a\"")
    );
    assert!(jsonschema::is_valid(
        &stream.output_schema().unwrap(),
        &json["structuredContent"]
    ));
    running.drain().await;
}

#[tokio::test]
async fn a_stream_is_cut_at_a_thousand_messages_and_at_its_bytes() {
    let (running, caller, registry) = echo("0s").await;
    let stream = method(&registry, "agentplatform.AgentService/StreamTask").await;
    let words = "w ".repeat(schema::MAX_MESSAGES + 50);
    let result = call(&caller, &stream, json!({ "input": words }))
        .await
        .unwrap();
    let json = view(&result);
    assert_eq!(
        json["structuredContent"]["messages"]
            .as_array()
            .unwrap()
            .len(),
        schema::MAX_MESSAGES
    );
    assert_eq!(json["structuredContent"]["truncated"], true);
    let small = ToolKeys {
        mcp_max_result: 1_000,
        ..keys()
    };
    let caller = ToolCaller::new(client(&registry), None, &small);
    let result = call(&caller, &stream, json!({"input": "w ".repeat(100)}))
        .await
        .unwrap();
    let json = view(&result);
    assert_eq!(
        (result.is_error, &json["structuredContent"]["truncated"]),
        (false, &json!(true))
    );
    let result = call(&caller, &echo_tool(), json!({"input": "x".repeat(2_000)}))
        .await
        .unwrap();
    assert!(result.is_error && text(&result).starts_with("RESOURCE_EXHAUSTED: "));
    running.drain().await;
}

#[tokio::test]
async fn a_stream_that_takes_messages_is_given_a_list() {
    let (running, caller, registry) = echo("0s").await;
    let reflection = method(
        &registry,
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    )
    .await;
    let arguments =
        json!({"messages": [{"list_services": ""}, {"file_by_filename": "none.proto"}]});
    let result = call(&caller, &reflection, arguments).await.unwrap();
    let json = view(&result);
    let messages = json["structuredContent"]["messages"].as_array().unwrap();
    assert!(
        messages[0]["list_services_response"]["service"].is_array(),
        "{json}"
    );
    assert!(jsonschema::is_valid(
        &reflection.output_schema().unwrap(),
        &json["structuredContent"]
    ));
    running.drain().await;
}

#[tokio::test]
async fn a_late_answer_is_an_error_and_a_dropped_call_is_cancelled() {
    let (running, caller, registry) = echo("30s").await;
    let context = CallContext {
        timeout: Some(Duration::from_millis(300)),
        ..CallContext::default()
    };
    let result = call_with(&caller, &echo_tool(), json!({"input": "x"}), &context)
        .await
        .unwrap();
    assert!(
        result.is_error && text(&result).starts_with("DEADLINE_EXCEEDED: "),
        "{}",
        text(&result)
    );
    assert_eq!(
        view(&result)["_meta"]["mesh.v1/status"]["code"],
        "DEADLINE_EXCEEDED"
    );
    let short = ToolKeys {
        mcp_call_timeout: Duration::from_millis(300),
        ..keys()
    };
    let impatient = ToolCaller::new(client(&registry), None, &short);
    let result = call(&impatient, &echo_tool(), json!({"input": "x"})).await;
    assert!(text(&result.unwrap()).starts_with("DEADLINE_EXCEEDED: "));
    let tool = echo_tool();
    let pending = call(&caller, &tool, json!({"input": "x"}));
    let dropped = tokio::time::timeout(Duration::from_millis(300), pending).await;
    assert!(dropped.is_err());
    let status = method(&registry, "agentplatform.AgentService/GetStatus").await;
    testkit::until("no task is active", Duration::from_secs(5), async || {
        let result = call(&caller, &status, json!({})).await.ok()?;
        (view(&result)["structuredContent"]["active_tasks"] == 0).then_some(())
    })
    .await;
    running.drain().await;
}

#[tokio::test]
async fn a_tool_that_is_gone_is_an_error_of_the_protocol() {
    let (running, caller, registry) = echo("0s").await;
    let worker = tool(
        "agent-echo",
        "echo-agent",
        ToolTarget::Worker {
            parameters: Arc::default(),
        },
    );
    assert_eq!(
        call(&caller, &worker, json!({})).await.unwrap_err().code,
        -32602
    );
    running.drain().await;
    drop(registry);
    let failed = call(&caller, &echo_tool(), json!({"input": "x"})).await;
    match failed {
        Err(error) => assert_eq!(error.code, -32602),
        Ok(result) => assert!(
            text(&result).starts_with("UNAVAILABLE: "),
            "{}",
            text(&result)
        ),
    }
}

#[tokio::test]
async fn a_tool_is_called_by_its_operation() {
    let registry = Arc::new(Memory::new());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let set = [("out_dir", out.as_str())];
    let running = local::start(&fs_tool::SPEC, fs_tool::build, &registry, &set).await;
    let caller = ToolCaller::new(client(&registry), None, &keys());
    let parameter = |name: &str| ToolParameter {
        name: name.to_owned(),
        r#type: "string".to_owned(),
        required: true,
        description: String::new(),
    };
    let operation = |name: &str, parameters: &[&str]| {
        let parameters = parameters.iter().map(|name| parameter(name)).collect();
        let operation = Some(name.into());
        tool(
            "tool-fs",
            "fs-tool",
            ToolTarget::ToolOperation {
                operation,
                parameters,
            },
        )
    };
    let write = operation("file_write_safe", &["path", "content"]);
    let arguments = json!({"path": "a.txt", "content": "hello", "session_id": "run-1"});
    let result = call(&caller, &write, arguments).await.unwrap();
    assert!(!result.is_error, "{}", text(&result));
    let list = operation("file_list", &[]);
    let result = call(&caller, &list, json!({"session_id": "run-1"}))
        .await
        .unwrap();
    let json = view(&result);
    assert_eq!(json["isError"], false, "{json}");
    // What is JSON is structured, and a list within an object.
    let structured = &json["structuredContent"];
    assert!(structured.to_string().contains("a.txt"), "{json}");
    let result = call(&caller, &list, json!({})).await.unwrap();
    assert!(
        result.is_error && text(&result).starts_with("FAILED: session_id"),
        "{}",
        text(&result)
    );
    let result = call(&caller, &list, json!({"sesion_id": "x"}))
        .await
        .unwrap();
    assert!(
        text(&result).contains("did you mean session_id?"),
        "{}",
        text(&result)
    );
    let named = tool(
        "tool-fs",
        "fs-tool",
        ToolTarget::ToolOperation {
            operation: None,
            parameters: Arc::default(),
        },
    );
    let arguments = json!({"operation": "nothing", "x": 1, "session_id": "run-1"});
    let result = call(&caller, &named, arguments).await.unwrap();
    assert!(
        text(&result).starts_with("FAILED: unknown operation \"nothing\""),
        "{}",
        text(&result)
    );
    running.drain().await;
}
