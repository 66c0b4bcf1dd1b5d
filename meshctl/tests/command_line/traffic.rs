//! `meshctl stat` and `meshctl top`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use tokio::task::{JoinSet, spawn_blocking};

use crate::mesh::{Mesh, meshctl, run_command};

/// Calls an agent until it is aborted.
fn call(mesh: &Mesh, to: &str) -> JoinSet<()> {
    let (router, to) = (mesh.router.clone(), to.to_owned());
    let mut calls = JoinSet::new();
    calls.spawn(async move {
        loop {
            let (router, to) = (router.clone(), to.clone());
            let called = spawn_blocking(move || {
                let mut command = meshctl(&["call", &to, "ExecuteTask", "--json"]);
                command.env("MCP_ROUTER_ADDR", router);
                run_command(command, "").ok();
            });
            called.await.unwrap();
        }
    });
    calls
}

async fn look(mesh: &Mesh, args: &'static [&'static str]) -> Vec<Value> {
    let router = mesh.router.clone();
    let answer = spawn_blocking(move || {
        let mut command = meshctl(args);
        command.env("MCP_ROUTER_ADDR", router);
        run_command(command, "").ok()
    });
    answer.await.unwrap().json()
}

#[tokio::test]
async fn the_traffic_of_services_and_instances_is_shown_without_prometheus() {
    let mesh = Mesh::up(
        &["--consul", "none", "--echo", "2"],
        &[("ECHO_DELAY", "20ms")],
    )
    .await;
    let _calls = call(&mesh, "echo-agent");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stat = look(&mesh, &["stat", "agent-echo", "--json", "--interval", "2s"]).await;
    let [stat] = stat.as_slice() else {
        panic!("{stat:?}");
    };
    assert!(stat["seconds"].as_f64().unwrap() >= 2.0, "{stat:#}");
    let services = stat["services"].as_array().unwrap();
    assert_eq!(services.len(), 1, "{stat:#}");
    let echo = &services[0];
    assert!(echo["rate"].as_f64().unwrap() > 0.5, "{stat:#}");
    assert_eq!(echo["success"], 1.0, "{stat:#}");
    let p50 = echo["p50_seconds"].as_f64().unwrap();
    assert!((0.01..2.0).contains(&p50), "{stat:#}");
    assert!(echo["p99_seconds"].as_f64().unwrap() >= p50, "{stat:#}");
    let instances = echo["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2, "{stat:#}");
    let rates: f64 = instances
        .iter()
        .map(|it| it["rate"].as_f64().unwrap())
        .sum();
    assert!(rates > 0.5, "{stat:#}");

    let top = look(
        &mesh,
        &["top", "--json", "--interval", "500ms", "--count", "2"],
    )
    .await;
    assert_eq!(top.len(), 2);
    assert_eq!(
        top[1]["services"][0]["service"], "agent-echo",
        "the busiest first: {top:?}"
    );
}

#[tokio::test]
async fn a_table_is_for_people() {
    let mesh = Mesh::small().await;
    let answer = mesh.run(&["stat", "--interval", "100ms"]).ok();
    let lines: Vec<_> = answer.stdout.lines().collect();
    assert!(lines[0].starts_with("SERVICE / INSTANCE "), "{answer:?}");
    for name in [
        "agent-echo",
        "tool-weather",
        "worker-itinerary",
        "mcp-router",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(name)),
            "{answer:?}"
        );
    }
    let answer = mesh.run(&["stat", "frogs", "--interval", "100ms"]).ok();
    assert!(answer.stderr.contains("no such service"), "{answer:?}");
}
