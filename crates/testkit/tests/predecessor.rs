//! A service in the predecessor's way: its own grpcio server, registered by hostname with a TCP
//! check, without reflection and without gRPC health.
//!
//! `MESH_TEST_QUIET_SECONDS` says how long the quiet call is; the mesh promises 90, and 20 are
//! enough to pass every time by which a silent instance is judged.

use std::{path::Path, time::Duration};

use mesh_testkit::{Consul, Program, grpcurl::call, python::Python, tools, until};
use serde_json::json;

const EXECUTE: &str = "agentplatform.AgentService/ExecuteTask";

#[tokio::test]
async fn a_long_quiet_call_to_a_server_of_the_predecessor_succeeds() {
    let consul = Consul::start().await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/predecessor.py");
    let proto = tools::root().join("proto/proto");
    let server = Python::start(&script, &[proto.to_str().unwrap()]).await;
    let registration = json!({
        "ID": "foo-1", "Name": "agent-foo", "Tags": ["agent", "foo"],
        "Address": "localhost", "Port": server.port,
        "Check": { "TCP": format!("localhost:{}", server.port), "Interval": "2s", "Timeout": "1s" },
    });
    consul.put("agent/service/register", &registration).await;
    consul.wait_passing("agent-foo", 1).await;
    let answers = until(
        "it is called as foo-agent",
        Duration::from_secs(2),
        async || {
            let task = r#"{"task_id":"t0","agent_id":"foo-agent","input":"hi"}"#;
            let output = mesh_testkit::grpcurl(&["-d", task], router.grpc, &[EXECUTE]).await;
            output.ok.then(|| output.messages())
        },
    );
    assert_eq!(answers.await[0]["output"], "foo: hi");

    let seconds = quiet_seconds();
    let quiet = format!(
        r#"{{"task_id":"t1","agent_id":"foo-agent","input":"long","parameters":{{"seconds":"{seconds}"}}}}"#
    );
    let others = async {
        // While it works, and is known to live, it is given other calls.
        for number in 0..5 {
            tokio::time::sleep(Duration::from_secs(seconds) / 6).await;
            let task = format!(r#"{{"agent_id":"foo-agent","input":"{number}"}}"#);
            let answer = call(router.grpc, EXECUTE, &task).await;
            assert_eq!(answer[0]["output"], format!("foo: {number}"));
        }
    };
    let (answer, ()) = tokio::join!(call(router.grpc, EXECUTE, &quiet), others);
    assert_eq!(answer[0]["output"], "foo: long");
    let worked: f64 = answer[0]["metadata"]["worked_seconds"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(worked >= seconds as f64, "{worked}");
    router.assert_healthy();
}

fn quiet_seconds() -> u64 {
    let given = std::env::var_os("MESH_TEST_QUIET_SECONDS");
    given.map_or(20, |text| {
        text.to_string_lossy().parse().expect("a number of seconds")
    })
}
