//! Services that come and go while clients listen.

use std::{path::Path, time::Duration};

use mesh_testkit::{Consul, Process, Signal, python::Python, until, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{SOON, World, ask, call, listener, python, tool_names, typescript};

/// From passing to called, and from failing to gone.
const LIMIT: Duration = Duration::from_secs(2);
const TOOL: &str = "warehouse__Inventory_Count";

/// Registers a server of the test under a name, with a check of its own each second.
pub(crate) async fn register(consul: &Consul, name: &str, port: u16) {
    register_tool(consul, name, port, json!({"mcp": "*"})).await;
}

/// The same with these entries of its Meta.
pub(crate) async fn register_tool(consul: &Consul, name: &str, port: u16, meta: Value) {
    let check = json!({"TCP": format!("127.0.0.1:{port}"), "Interval": "1s", "Timeout": "1s"});
    let tags: &[_] = if name.starts_with("tool-") {
        &["grpc", "tool"]
    } else {
        &["grpc"]
    };
    let registration = json!({
        "ID": format!("{name}-1"), "Name": name, "Tags": tags, "Address": "127.0.0.1",
        "Port": port, "Meta": meta, "Check": check,
    });
    consul.put("agent/service/register", &registration).await;
}

async fn inventory() -> Python {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/inventory.py");
    Python::start(&script, &[]).await
}

/// Clients that listen: Python in both eras, TypeScript in the modern one.
async fn listeners(url: &str, home: &TempDir) -> Vec<Process> {
    let (tool, arguments) = ("echo-agent", r#"{"input":"hello"}"#);
    let mut all = Vec::new();
    for mode in ["auto", "legacy"] {
        let command = python(&[url, mode, tool, arguments, "listen"], home);
        all.push(listener("python", command));
    }
    let args = ["2", "http", url, "auto", tool, arguments, "listen"];
    all.push(listener("typescript", typescript(&args, home)));
    for client in &mut all {
        let listens = |line: &str| {
            let told: Value = serde_json::from_str(line).ok()?;
            told["listening"].as_bool()
        };
        client.wait_for_line(SOON, listens).await;
    }
    all
}

/// Whether the last list that a client told has a tool.
fn has(client: &Process, tool: &str) -> Option<bool> {
    let log = client.log();
    let mut lists = log.lines().rev().filter_map(|line| {
        let told: Value = serde_json::from_str(line).ok()?;
        told["changed"].as_array().cloned()
    });
    lists
        .next()
        .map(|names| names.iter().any(|name| name == tool))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_server_becomes_tools_while_clients_listen_and_goes_again() {
    let world = World::start(1, &[]).await;
    let url = world.mcp();
    let home = TempDir::new().expect("a folder");
    // Others of whom nothing must change: one server under five names, and one that hangs.
    let others = inventory().await;
    for number in 1..=5 {
        register(&world.consul, &format!("other-{number}"), others.port).await;
    }
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = hanging.local_addr().expect("an address").port();
    register(&world.consul, "hanging", port).await;
    until("the others are tools", SOON, async || {
        let names = tool_names(&url).await?;
        let others = names.iter().filter(|name| name.ends_with("_Count"));
        (others.count() == 5).then_some(())
    })
    .await;
    let before = tool_names(&url).await.expect("a list");
    let mut clients = listeners(&url, &home).await;

    let mut server = inventory().await;
    register(&world.consul, "warehouse", server.port).await;
    world.consul.wait_passing("warehouse", 1).await;
    let listed = within(LIMIT, async || {
        let names = tool_names(&url).await?;
        names.contains(&TOOL.to_owned()).then_some(())
    });
    assert!(
        listed.await.is_some(),
        "not listed {LIMIT:?} after it passes"
    );
    // Called at once, and refused before it is called where the arguments will not do.
    let counted = call(&url, TOOL, json!({"sku": "bolt"})).await;
    assert_eq!(counted["structuredContent"]["quantity"], 42, "{counted}");
    let wrong = call(&url, TOOL, json!({"sku": "bolt", "colour": "red"})).await;
    assert_eq!(wrong["isError"], true, "{wrong}");
    let missing = call(&url, TOOL, json!({"sku": "missing"})).await;
    let text = missing["content"][0]["text"].as_str().unwrap_or_default();
    assert!(
        missing["isError"] == true && text.starts_with("NOT_FOUND: no such item"),
        "{missing}"
    );
    for client in &clients {
        let told = within(LIMIT, async || {
            (has(client, TOOL) == Some(true)).then_some(())
        });
        assert!(
            told.await.is_some(),
            "a client was not told: {}",
            client.log()
        );
    }

    server.process.signal(Signal::Kill);
    world.consul.wait_passing("warehouse", 0).await;
    let gone = within(LIMIT, async || {
        let names = tool_names(&url).await?;
        (!names.contains(&TOOL.to_owned())).then_some(names)
    });
    let (after, _) = gone.await.expect("gone within two seconds");
    assert_eq!(after, before, "the others are as they were");
    for client in &mut clients {
        let told = within(LIMIT, async || {
            (has(client, TOOL) == Some(false)).then_some(())
        });
        assert!(
            told.await.is_some(),
            "a client was not told: {}",
            client.log()
        );
        assert!(client.exit_status().is_none(), "a client has ended");
    }
    let params = json!({"name": TOOL, "arguments": {}});
    let (_, unknown) = ask(&url, "tools/call", params).await.expect("an answer");
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let untouched = call(&url, "echo-agent", json!({"input": "still here"})).await;
    assert_ne!(untouched["isError"], true, "{untouched}");
    drop(hanging);
}
