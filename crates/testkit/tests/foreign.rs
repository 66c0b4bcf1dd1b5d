//! A service that the mesh knows nothing about: Python, its own proto, registered by plain HTTP.

use std::{path::Path, process::Command, time::Duration};

use mesh_testkit::{
    Consul, Process, Program, RouterMesh, grpcurl, grpcurl::call, python::Python, tools, until,
    within,
};
use serde_json::{Value, json};

const COUNT: &str = "warehouse.v1.Inventory/Count";
const REFLECTION: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_foreign_server_is_found_and_called_within_a_second_of_passing() {
    let consul = Consul::start().await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    // The router is warm, and does not know the service.
    let before = grpcurl(&[], router.grpc, &["list"]).await;
    assert!(before.ok && !before.out.contains("warehouse"), "{before:?}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/inventory.py");
    let server = Python::start(&script, &[]).await;
    let registration = json!({
        "ID": "warehouse-1", "Name": "warehouse", "Tags": ["grpc"],
        "Address": "127.0.0.1", "Port": server.port,
        "Check": { "TCP": format!("127.0.0.1:{}", server.port), "Interval": "1s", "Timeout": "1s" },
    });
    consul.put("agent/service/register", &registration).await;
    until(
        "the first check passes",
        Duration::from_secs(10),
        async || (consul.passing("warehouse").await.len() == 1).then_some(()),
    )
    .await;
    let reached = within(REFLECTION, async || {
        let listed = grpcurl(&[], router.grpc, &["list"]).await;
        listed
            .lines()
            .any(|line| line == "warehouse.v1.Inventory")
            .then_some(())
    });
    assert!(
        reached.await.is_some(),
        "`grpcurl list` does not show it after {REFLECTION:?}"
    );

    unary(&router).await;
    streams(&router).await;
    refusal(&router).await;
    router.assert_healthy();
}

async fn unary(router: &Program) {
    let options = ["-v", "-H", "x-tenant: acme", "-d", r#"{"sku":"bolt"}"#];
    let counted = grpcurl(&options, router.grpc, &[COUNT]).await;
    assert!(counted.ok, "{}", counted.err);
    for part in [
        r#""quantity": 42"#,
        r#""tenant": "acme""#,
        "x-aisle: 4",
        "x-shelf: 7",
        "x-mesh-instance: warehouse-1",
    ] {
        assert!(
            counted.out.contains(part),
            "{part} is not in {}",
            counted.out
        );
    }
    let described = grpcurl(&[], router.grpc, &["describe", "warehouse.v1.Stock"]).await;
    assert!(described.out.contains("string tenant = 3"), "{described:?}");
}

async fn streams(router: &Program) {
    let watched = call(
        router.grpc,
        "warehouse.v1.Inventory/Watch",
        r#"{"sku":"bolt"}"#,
    )
    .await;
    assert_eq!(watched.len(), 3);
    let two = r#"{"sku":"a","quantity":2} {"sku":"b","quantity":3}"#;
    let added = call(router.grpc, "warehouse.v1.Inventory/Add", two).await;
    assert_eq!(added, [json!({"sku": "a,b", "quantity": 5})]);
    let exchanged = call(router.grpc, "warehouse.v1.Inventory/Exchange", two).await;
    let expected = [
        json!({"sku": "a", "quantity": -2}),
        json!({"sku": "b", "quantity": -3}),
    ];
    assert_eq!(exchanged, expected);
}

async fn refusal(router: &Program) {
    let options = ["-v", "-d", r#"{"sku":"missing","quantity":9}"#];
    let refused = grpcurl(&options, router.grpc, &[COUNT]).await;
    assert!(!refused.ok);
    let told = format!("{}{}", refused.out, refused.err);
    // The detail's type comes from the router's reflection, too.
    for part in [
        "NotFound",
        "no such item",
        "x-shelf: none",
        "warehouse.v1.Item",
        r#""quantity": 9"#,
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[tokio::test]
async fn ghz_gets_every_call_answered_by_the_routers_port() {
    let RouterMesh {
        mut router,
        echoes: _echoes,
        consul: _consul,
    } = RouterMesh::start(2, &[], &[]).await;
    let task = r#"{"task_id":"{{.RequestNumber}}","agent_id":"echo-agent","input":"hello"}"#;
    for (method, calls) in [("ExecuteTask", 2000), ("StreamTask", 500)] {
        let mut command = Command::new(tools::tool("ghz"));
        command
            .args([
                "--insecure",
                "--format=json",
                "--concurrency=20",
                "--connections=4",
            ])
            .arg(format!("--total={calls}"))
            .arg(format!("--call=agentplatform.AgentService.{method}"))
            .arg(format!("--data={task}"))
            .arg("--proto")
            .arg(tools::root().join("proto/proto/agentplatform/agentplatform.proto"))
            .arg(router.grpc.to_string());
        let mut ghz = Process::start("ghz", command);
        let status = ghz.wait_exit(Duration::from_secs(60)).await;
        let report: Value = serde_json::from_str(&ghz.log()).expect("it reports JSON");
        assert!(status.success(), "{report}");
        assert_eq!(
            report["statusCodeDistribution"],
            json!({ "OK": calls }),
            "{report}"
        );
    }
    router.assert_healthy();
}
