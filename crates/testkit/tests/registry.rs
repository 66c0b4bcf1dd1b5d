//! What routers do while Consul is away, and with what anybody may have written into it.

use std::{net::SocketAddr, time::Duration};

use mesh_testkit::{Consul, Program, Signal, http_client, load, until};
use serde_json::json;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn readyz(program: &Program) -> (u16, String) {
    let answer = http_client::get(&format!("http://{}/readyz", program.admin)).await;
    answer.expect("its admin listener answers")
}

async fn echo(router: SocketAddr) -> Result<String, tonic::Status> {
    load::call(&mut load::client(router), 0).await
}

async fn wait_echo(router: SocketAddr) {
    until("a call is answered", PATIENCE, async || {
        echo(router).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_router_that_starts_while_consul_is_silent_is_ready_only_with_a_kept_set() {
    let mut consul = Consul::start().await;
    let echo_agent = Program::start("echo-agent", &consul.env()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry.json");
    let cache = ("REGISTRY_CACHE", file.display().to_string());
    let with = [consul.env(), vec![cache]].concat();
    let first = Program::start("mcp-router", &with).await;
    wait_echo(first.grpc).await;
    until("the set is kept", PATIENCE, async || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.contains(&echo_agent.id).then_some(())
    })
    .await;
    consul.signal(Signal::Stop);
    drop(first);

    let blind = Program::start("mcp-router", &consul.env()).await;
    let (code, reason) = readyz(&blind).await;
    assert_eq!(code, 503, "{reason}");
    let status = echo(blind.grpc).await.expect_err("it knows nobody");
    assert!(
        status.message().contains("registry") || status.message().contains("consul"),
        "{status}"
    );
    let kept = Program::start("mcp-router", &with).await;
    until("the kept set is shown", PATIENCE, async || {
        (readyz(&kept).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(echo(kept.grpc).await.unwrap(), echo_agent.id);
    let config = http_client::json(&format!("http://{}/config", kept.admin))
        .await
        .unwrap();
    assert!(
        config["registry"]["cached_seconds"].is_u64(),
        "{}",
        config["registry"]
    );
    let (code, reason) = readyz(&blind).await;
    assert_eq!(code, 503, "{reason}");

    consul.signal(Signal::Continue);
    until("both are ready", PATIENCE, async || {
        (readyz(&blind).await.0 == 200 && readyz(&kept).await.0 == 200).then_some(())
    })
    .await;
    wait_echo(blind.grpc).await;
}

#[tokio::test]
async fn odd_entries_hold_up_no_new_router_and_no_call_of_others() {
    let consul = Consul::start().await;
    let _echo = Program::start("echo-agent", &consul.env()).await;
    for name in ["two words", "a/b", "50%", "\"quoted\"", "ünïcode"] {
        let service =
            json!({"Name": name, "ID": name, "Address": "127.0.0.1", "Port": 1, "Tags": ["grpc"]});
        consul.put("agent/service/register", &service).await;
    }
    let odd = json!({"Name": "agent-odd", "ID": "odd", "Address": "not an address", "Port": 70000, "Tags": ["agent"]});
    consul.put("agent/service/register", &odd).await;
    let begun = Instant::now();
    let router = Program::start("mcp-router", &consul.env()).await;
    wait_echo(router.grpc).await;
    until("it is ready", PATIENCE, async || {
        (readyz(&router).await.0 == 200).then_some(())
    })
    .await;
    // The longest that a router waits for what is not told.
    assert!(
        begun.elapsed() < SECOND * 4,
        "ready after {:?}",
        begun.elapsed()
    );
    let config = http_client::json(&format!("http://{}/config", router.admin))
        .await
        .unwrap();
    let left_out = config["registry"]["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 6, "{left_out:?}");
    let log = router.process.log();
    let told = log
        .lines()
        .filter(|line| line.contains("left out of the mesh"));
    assert_eq!(told.count(), 6, "{log}");
}
