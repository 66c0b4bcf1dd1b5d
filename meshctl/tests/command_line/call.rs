//! `meshctl call`.

use std::io::Write as _;

use crate::mesh::{Mesh, run};

const EXECUTE: &str = "agentplatform.AgentService/ExecuteTask";

#[tokio::test]
async fn a_message_comes_from_the_command_line_a_file_or_standard_input() {
    let mesh = Mesh::small().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, r#"{{"input":"hi","taskId":"t"}}"#).unwrap();
    let file = format!("@{}", file.path().display());
    let json = r#"{"input":"hi","task_id":"t"}"#;
    let output = |message: &str| {
        let args = ["call", "echo-agent", "ExecuteTask", message, "--json"];
        let value = mesh.run_with(json, &args).ok().value();
        assert!(
            value["instance"]
                .as_str()
                .unwrap()
                .starts_with("echo-agent-"),
            "{value}"
        );
        assert_eq!(value["message"]["task_id"], "t");
        value["message"]["output"].as_str().unwrap().to_owned()
    };
    for message in [json, &file, "-"] {
        assert_eq!(output(message), "Echo Agent Response: hi");
    }
}

#[tokio::test]
async fn methods_may_be_written_short_and_targets_as_consul_names_them() {
    let mesh = Mesh::small().await;
    for method in [
        "ExecuteTask",
        "AgentService/ExecuteTask",
        EXECUTE,
        "agentplatform.AgentService.ExecuteTask",
    ] {
        for target in ["echo-agent", "agent-echo"] {
            mesh.run(&["call", target, method, r#"{"input":"hi"}"#])
                .ok();
        }
    }
    // With an id in the message, the target is metadata, which the router takes first.
    let other = r#"{"agent_id":"somebody-else","input":"hi"}"#;
    mesh.run(&["call", "echo-agent", "ExecuteTask", other]).ok();
    let list = mesh
        .run(&["call", "mcp-router", "ListTools", "--json"])
        .ok()
        .value();
    assert_eq!(list["message"]["tools"][0]["tool_id"], "weather-tool");
}

#[tokio::test]
async fn people_read_the_message_and_the_instance_beside_it() {
    let mesh = Mesh::small().await;
    let answer = mesh
        .run(&["call", "echo-agent", EXECUTE, r#"{"input":"hi"}"#])
        .ok();
    assert!(
        answer
            .stdout
            .contains("\n  \"output\": \"Echo Agent Response: hi\",\n"),
        "{answer:?}"
    );
    assert!(
        answer.stderr.starts_with("x-mesh-instance: echo-agent-"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_stream_is_a_line_a_message() {
    let mesh = Mesh::small().await;
    let args = ["call", "echo-agent", "StreamTask", r#"{"input":"one two"}"#];
    let chunks = mesh.run(&args).ok().json();
    let words: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["content"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["one", "two", "[COMPLETE]"]);
}

#[tokio::test]
async fn a_stream_of_requests_is_read_from_standard_input() {
    let mesh = Mesh::small().await;
    let method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let lines = "{\"list_services\":\"\"}\n\n{\"file_containing_symbol\":\"nobody.Knows\"}\n";
    let answers = mesh
        .run_with(lines, &["call", "mcp-router", method])
        .ok()
        .json();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1]["error_response"]["error_code"], 5);

    let answer = mesh.run_with(
        "{\"list_services\":\"\"}\n{oops\n",
        &["call", "mcp-router", method],
    );
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.contains("the message is not JSON"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_the_mesh_refuses_is_told_with_code_reason_and_facts() {
    let mesh = Mesh::small().await;
    let answer = mesh.run(&["call", "nobody-agent", EXECUTE, "{}"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.starts_with("error: NOT_FOUND: "),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("\n  reason: "), "{answer:?}");
    assert!(
        answer.stderr.contains("\n  id: nobody-agent\n"),
        "{answer:?}"
    );

    let answer = mesh.run(&["call", "nobody-agent", EXECUTE, "{}", "--json"]);
    assert_eq!(answer.code, Some(1));
    let error = &answer.value()["error"];
    assert_eq!(
        (error["code"].as_str(), error["number"].as_i64()),
        (Some("NOT_FOUND"), Some(5))
    );
    assert_eq!(error["metadata"]["id"], "nobody-agent");
}

#[tokio::test]
async fn a_call_that_takes_too_long_fails_at_its_deadline() {
    let mesh = Mesh::up(&["--consul", "none"], &[("ECHO_DELAY", "1m")]).await;
    let answer = mesh.run(&["call", "echo-agent", EXECUTE, "--timeout", "300ms"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("DEADLINE_EXCEEDED"), "{answer:?}");
}

#[tokio::test]
async fn what_cannot_be_called_is_told_with_what_can() {
    let mesh = Mesh::small().await;
    for (args, text) in [
        (
            ["echo-agent", "Frobnicate", "{}"],
            "agentplatform.AgentService/ExecuteTask",
        ),
        (
            ["echo-agent", "no.Such/Method", "{}"],
            "there are agentplatform.AgentService",
        ),
        (["mcp-router", "ServerReflectionInfo", "{}"], "ambiguous"),
        (
            ["echo-agent", EXECUTE, r#"{"inputs":"hi"}"#],
            "describe agentplatform.TaskRequest",
        ),
        (["echo-agent", EXECUTE, "hi"], "the message is not JSON"),
        (["echo-agent", EXECUTE, "@/no/such/file"], "/no/such/file"),
    ] {
        let [target, method, message] = args;
        let answer = mesh.run(&["call", target, method, message]);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.contains(text), "{answer:?}");
    }
}

#[test]
fn a_command_line_that_will_not_do_exits_with_two() {
    for args in [
        &["call"][..],
        &["call", "echo-agent", "ExecuteTask", "{}", "--timeout", "5"],
        &["call", "echo-agent", "ExecuteTask", "{}", "-H", "novalue"],
        &["list", "frogs"],
        &["up", "--echo", "many"],
        &["status", "echo-agent", "--task", "t"],
        &["frobnicate"],
    ] {
        assert_eq!(run(args).code, Some(2), "{args:?}");
    }
}
