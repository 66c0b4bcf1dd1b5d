//! What routers do while Consul is away, and with what anybody may have written into it.

use std::{net::SocketAddr, time::Duration};

use mesh_testkit::{Consul, Program, Signal, consul::MASTER, http_client, load, until};
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

/// A token that may read the names of services, and a node without instances: what a policy for one
/// node gives on another.
#[tokio::test]
async fn a_router_whose_token_sees_no_instance_is_not_ready_and_says_why() {
    const SECRET: &str = "11111111-2222-3333-4444-555555555555";
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let consul = Consul::start_with(&[acl]).await;
    let all = |token: &str| [consul.env(), vec![("CONSUL_HTTP_TOKEN", token.to_owned())]].concat();
    let write = async |path: &str, body: serde_json::Value| {
        consul.put(&format!("{path}?token={MASTER}"), &body).await;
    };
    write(
        "catalog/register",
        json!({"Node": "other", "Address": "10.0.0.1"}),
    )
    .await;
    let services = r#"service_prefix "" { policy = "write" } key_prefix "" { policy = "read" }"#;
    let rules = |nodes: &str| {
        let rules = format!("{services} {nodes}");
        json!({"Name": "mesh", "Rules": rules})
    };
    write("acl/policy", rules(r#"node "other" { policy = "read" }"#)).await;
    write(
        "acl/token",
        json!({"SecretID": SECRET, "Policies": [{"Name": "mesh"}]}),
    )
    .await;
    let echo_agent = Program::start("echo-agent", &all(MASTER)).await;
    let router = Program::start("mcp-router", &all(SECRET)).await;
    until("the router is told", PATIENCE, async || {
        let (code, text) = readyz(&router).await;
        (code == 503 && text.contains("agent-echo")).then_some(())
    })
    .await;
    let metrics = async || {
        let url = format!("http://{}/metrics", router.admin);
        http_client::get(&url).await.expect("it answers").1
    };
    let text = metrics().await;
    for line in [
        "\nmesh_ready 0\n",
        "\nmesh_registry_up 0\n",
        "\nmesh_registry_registered 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(
        text.contains("mesh_registry_answers_total{outcome=\"ok\"}"),
        "{text}"
    );
    let status = echo(router.grpc).await.expect_err("it knows nobody");
    assert!(status.message().contains("nodes"), "{status}");

    // An operator mends the policy: the router needs no restart.
    let all_nodes = r#"node_prefix "" { policy = "read" }"#;
    write("acl/policy", json!({"Name": "nodes", "Rules": all_nodes})).await;
    let both = json!([{"Name": "mesh"}, {"Name": "nodes"}]);
    let own = consul.get(&format!("acl/token/self?token={SECRET}")).await;
    let accessor = own["AccessorID"].as_str().unwrap();
    write(&format!("acl/token/{accessor}"), json!({"Policies": both})).await;
    until("the router is ready", PATIENCE, async || {
        (readyz(&router).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(echo(router.grpc).await.unwrap(), echo_agent.id);
    until("the metrics say so", PATIENCE, async || {
        let text = metrics().await;
        let well = text.contains("\nmesh_ready 1\n") && text.contains("\nmesh_registry_up 1\n");
        well.then_some(())
    })
    .await;
}
