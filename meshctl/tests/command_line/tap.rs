//! `meshctl tap`.

use serde_json::Value;
use testkit::{Process, until};

use crate::mesh::{LIMIT, Mesh, meshctl, run};

#[tokio::test]
async fn a_tap_shows_calls_as_they_end_with_the_values_that_it_asks_for() {
    let mesh = Mesh::small().await;
    let mut command = meshctl(&["tap", "--router", &mesh.router]);
    command.args([
        "--service",
        "agent-echo",
        "--method",
        "ExecuteTask",
        "--status",
        "ok",
    ]);
    command.args(["--header", "x-tenant"]);
    let mut tap = Process::start("tap", command);
    let call = || {
        let message = r#"{"input":"hi"}"#;
        let tenant = ["-H", "x-tenant:blue", "-H", "x-request-id:r7"];
        let call = ["call", "echo-agent", "ExecuteTask", message];
        mesh.run(&[&call[..], &tenant].concat()).ok();
        mesh.run(&["call", "weather-tool", "ListTools", "{}"]).ok();
    };
    // The tap opens in its own time.
    let line = until("a call is shown", LIMIT, async || {
        call();
        let log = tap.log();
        let line = log.lines().find(|line| line.starts_with('{'))?;
        serde_json::from_str::<Value>(line).ok()
    })
    .await;
    assert_eq!(line["service"], "agent-echo", "{line}");
    assert_eq!(line["method"], "agentplatform.AgentService/ExecuteTask");
    assert_eq!(
        (&line["status"], &line["cause"]),
        (&"OK".into(), &Value::Null)
    );
    assert_eq!(line["request_id"], "r7");
    assert_eq!(line["headers"], serde_json::json!({ "x-tenant": "blue" }));
    let names = line["metadata"].as_array().unwrap();
    assert!(names.contains(&"x-request-id".into()), "{line}");
    assert!(
        line["router"].as_str().unwrap().starts_with("mcp-router-"),
        "{line}"
    );
    let log = tap.log();
    assert!(!log.contains("ListTools"), "{log}");
    tap.kill();
}

#[test]
fn what_cannot_be_a_value_is_refused_with_what_is_expected() {
    for (arguments, option, words) in [
        (
            ["--status", "FOO"],
            "--status <CODE>",
            "a code of gRPC by name or number",
        ),
        (
            ["--sample", "2"],
            "--sample <PART>",
            "a part of the calls above 0",
        ),
        (
            ["--header", "no name"],
            "--header <NAME>",
            "the name of a header",
        ),
    ] {
        let answer = run(&[&["tap"], &arguments[..]].concat());
        assert_eq!(answer.code, Some(2), "{answer:?}");
        let told = &answer.stderr;
        assert!(told.contains(option) && told.contains(words), "{answer:?}");
    }
}

#[tokio::test]
async fn a_listener_that_has_no_taps_is_told_of() {
    let mesh = Mesh::small().await;
    // A gRPC port is no admin listener.
    let answer = mesh.run(&["tap", "--admin", &mesh.router]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains(&mesh.router), "{answer:?}");
}
