//! The workflow runner's keys.

use std::time::{Duration, Instant};

use mesh_testkit::until;
use serde_json::json;
use workflow::RunStatus;

use crate::support::{Mesh, PATIENCE, graph, output, task};

#[tokio::test]
async fn an_owner_has_so_many_runs_and_nodes_under_way_as_the_keys_say() {
    let mesh = Mesh::with(&[("max_running_runs", "1")]).await;
    let workflow = graph(json!([task("a", "slow 150 a")]), &[]);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(mesh.begin(&workflow, json!({})).await);
    }
    for id in &ids {
        mesh.becomes(id, RunStatus::Completed).await;
    }
    assert_eq!(mesh.most(), 1);
    mesh.drain().await;

    let mesh = Mesh::with(&[("max_nodes_in_flight", "2")]).await;
    let nodes: Vec<_> = (0..6)
        .map(|n| task(&format!("n{n}"), "slow 100 x"))
        .collect();
    mesh.carry_out(&graph(nodes.into(), &[]), json!({})).await;
    assert_eq!(mesh.most(), 2);
    mesh.drain().await;
}

#[tokio::test]
async fn a_runner_without_room_leaves_further_runs_queued() {
    let mesh = Mesh::with(&[("workflow_runs", "1")]).await;
    let workflow = graph(json!([task("a", "slow 150 a")]), &[]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(mesh.begin(&workflow, json!({})).await);
    }
    for id in &ids {
        mesh.becomes(id, RunStatus::Completed).await;
    }
    assert_eq!(mesh.most(), 1);
    mesh.drain().await;
}

#[tokio::test]
async fn a_task_that_suits_nobody_goes_to_the_agent_of_the_key() {
    let mesh = Mesh::with(&[("workflow_agent", "helper-agent")]).await;
    let node = json!({"id": "a", "type": "agent", "config": {"task": "zzz qqq"}});
    let (_, run) = mesh.carry_out(&graph(json!([node]), &[]), json!({})).await;
    assert_eq!(output(&run, "a")["output"], "zzz qqq");
    mesh.drain().await;
}

#[tokio::test]
async fn the_runs_of_a_runner_that_vanishes_go_on_elsewhere_after_its_lease() {
    let mut mesh = Mesh::with(&[("workflow_lease", "2s")]).await;
    let workflow = graph(
        json!([task("a", "slow 1000 a"), task("b", "b")]),
        &[("a", "b")],
    );
    let id = mesh.begin(&workflow, json!({})).await;
    until("it runs", PATIENCE, async || {
        (!mesh.asked.lock().is_empty()).then_some(())
    })
    .await;
    let began = Instant::now();
    mesh.replace_workflow_runner(&[("workflow_lease", "2s")])
        .await;
    mesh.becomes(&id, RunStatus::Completed).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    let asked = mesh.asked.lock().clone();
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    mesh.drain().await;
}

#[tokio::test]
async fn many_runs_of_one_owner_do_not_delay_those_of_another() {
    let mesh = Mesh::start().await.without_workflow_runner().await;
    let heavy = graph(json!([task("a", "slow 300 a")]), &[]);
    for _ in 0..150 {
        mesh.begin_as("heavy", &heavy, json!({})).await;
    }
    let light = graph(json!([task("b", "b")]), &[]);
    let id = mesh.begin_as("light", &light, json!({})).await;
    let mesh = mesh.restart(Duration::ZERO).await;
    mesh.becomes(&id, RunStatus::Completed).await;
    let filter = runs::RunFilter {
        owner: Some("heavy".to_owned()),
        limit: 1_000,
        ..runs::RunFilter::default()
    };
    let heavy = mesh.store.runs(&filter).await.unwrap().runs;
    let left = heavy.iter().filter(|run| run.ended_at.is_none()).count();
    // They need 3 s, of which the other waits for a small part.
    assert!(left > 75, "{left}");
    mesh.drain().await;
}
