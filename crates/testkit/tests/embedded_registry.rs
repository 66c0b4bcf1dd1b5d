//! A mesh that `meshctl up` runs without Consul, and programs that are started beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, process::Command, time::Duration};

use mesh_testkit::{Process, Program, Signal, grpcurl, http_client, ports, tools, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(5);

/// `meshctl up` where no Consul is; its router, and where its registry answers.
async fn up() -> (Process, SocketAddr, SocketAddr) {
    loop {
        let [port] = ports::free();
        let (process, told) = up_at(port).await;
        // Another process may have been quicker to take the port.
        if let (Some(router), Some(registry)) =
            (address(&told, "router"), address(&told, "embedded"))
        {
            return (process, router, registry);
        }
    }
}

/// `meshctl up` with Consul, if there is one, on a port; and what it tells.
async fn up_at(port: u16) -> (Process, Value) {
    let mut command = Command::new(tools::program("meshctl"));
    command
        .args(["up", "--json", "--no-jobs", "--port", "0"])
        .env("CONSUL_HTTP_ADDR", format!("127.0.0.1:{port}"));
    let mut process = Process::start("meshctl", command);
    let find = |line: &str| {
        let told: Value = serde_json::from_str(line).ok()?;
        told["router"].is_string().then_some(told)
    };
    let told = process.wait_for_line(LIMIT, find).await;
    (process, told)
}

fn address(told: &Value, field: &str) -> Option<SocketAddr> {
    told[field].as_str()?.parse().ok()
}

async fn passing(registry: SocketAddr, service: &str) -> Vec<String> {
    let url = format!("http://{registry}/v1/health/service/{service}?passing");
    let found = http_client::json(&url).await.unwrap_or_default();
    let found = found.as_array().into_iter().flatten();
    let ids = found.filter_map(|it| it["Service"]["ID"].as_str());
    ids.map(str::to_owned).collect()
}

/// The instances that answer calls, of as many as it takes to see them all.
async fn answering(router: SocketAddr, calls: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..calls {
        let request = r#"{"agent_id":"echo-agent","input":"x"}"#;
        let method = "agentplatform.AgentService/ExecuteTask";
        let answer = grpcurl(&["-d", request], router, &[method]).await;
        assert!(answer.ok, "{}", answer.err);
        let answer: Value = serde_json::from_str(&answer.out).unwrap();
        let id = answer["metadata"]["agent_id"].as_str().unwrap().to_owned();
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

#[tokio::test]
async fn a_program_that_is_started_beside_it_joins_and_leaves() {
    let (_mesh, router, registry) = up().await;
    let env = [
        ("CONSUL_HTTP_ADDR", registry.to_string()),
        ("SERVICE_HOST", "127.0.0.1".to_owned()),
        ("DRAIN_DELAY", "1s".to_owned()),
    ];
    let mut echo = Program::start("echo-agent", &env).await;
    until("both are registered", SOON, async || {
        (passing(registry, "agent-echo").await.len() == 2).then_some(())
    })
    .await;
    until("both are called", SOON, async || {
        (answering(router, 4).await.len() == 2).then_some(())
    })
    .await;
    echo.signal(Signal::Terminate);
    until("it has left", SOON, async || {
        let left = passing(registry, "agent-echo").await;
        (!left.is_empty() && !left.contains(&echo.id)).then_some(())
    })
    .await;
    assert_eq!(answering(router, 4).await.len(), 1);
}

#[tokio::test]
async fn a_program_beside_it_survives_its_end_and_joins_the_next() {
    let (mut mesh, _, registry) = up().await;
    let env = [
        ("CONSUL_HTTP_ADDR", registry.to_string()),
        ("SERVICE_HOST", "127.0.0.1".to_owned()),
    ];
    let mut echo = Program::start("echo-agent", &env).await;
    let id = echo.id.clone();
    until("it is registered", SOON, async || {
        passing(registry, "agent-echo")
            .await
            .contains(&id)
            .then_some(())
    })
    .await;
    mesh.signal(Signal::Terminate);
    let ended = mesh.wait_exit(LIMIT).await;
    // Those of the mesh left before its registry did, or they would have said that they cannot.
    assert!(
        ended.success() && !mesh.log().contains("WARN"),
        "{}",
        mesh.log()
    );
    echo.assert_healthy();

    let (_next, told) = up_at(registry.port()).await;
    assert_eq!(address(&told, "embedded"), Some(registry), "{told}");
    let router = address(&told, "router").unwrap();
    until("it is called", SOON, async || {
        answering(router, 4).await.contains(&id).then_some(())
    })
    .await;
    echo.assert_healthy();
}

#[tokio::test]
async fn a_second_mesh_joins_the_firsts_registry() {
    let (mut first, router, registry) = up().await;
    let (mut second, told) = up_at(registry.port()).await;
    assert_eq!(told["registry"], "consul", "{told}");
    let other = address(&told, "router").unwrap();
    for router in [router, other] {
        until("either calls both", SOON, async || {
            (answering(router, 4).await.len() == 2).then_some(())
        })
        .await;
    }
    // Without the first it goes on with what it knows, and ends when it is told to.
    first.signal(Signal::Terminate);
    assert!(first.wait_exit(LIMIT).await.success());
    assert!(!answering(other, 4).await.is_empty());
    second.signal(Signal::Terminate);
    assert!(second.wait_exit(LIMIT).await.success(), "{}", second.log());
}

#[tokio::test]
async fn a_service_that_curl_registers_is_checked_really() {
    let (_mesh, _, registry) = up().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let body = json!({
        "Name": "pricing", "ID": "pricing-1", "Address": "127.0.0.1", "Port": 9, "Tags": ["grpc"],
        "Check": { "TCP": target, "Interval": "1s", "Status": "passing" },
    });
    let url = format!("http://{registry}/v1/agent/service/register");
    http_client::put(&url, body.to_string()).await;
    assert_eq!(passing(registry, "pricing").await, ["pricing-1"]);
    // It stays passing while somebody listens: one check has run when its output says so.
    until("the check has run", SOON, async || {
        let url = format!("http://{registry}/v1/health/checks/pricing");
        let checks = http_client::json(&url).await?;
        let output = checks[0]["Output"].as_str()?;
        output.contains("Success").then_some(())
    })
    .await;
    assert_eq!(passing(registry, "pricing").await, ["pricing-1"]);
    drop(listener);
    until("nobody listens any more", SOON, async || {
        passing(registry, "pricing").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_web_page_cannot_ask_the_registry() {
    let (_mesh, _, registry) = up().await;
    let catalog = format!("http://{registry}/v1/catalog/services");
    for header in ["Origin: http://page.example", "Host: page.example"] {
        let output = Command::new(tools::tool("curl"))
            .args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-H",
                header,
                &catalog,
            ])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "403", "{header}");
    }
}
