//! Shapes of graphs: a row, a diamond, branches, loops, children, patches.

use std::time::Instant;

use serde_json::json;
use workflow::{EventKind, NodeStatus, RunStatus};

use crate::support::{Mesh, graph, output, status, task};

#[tokio::test]
async fn nodes_run_in_a_row_a_diamond_joins_once_and_each_job_is_done_once() {
    let mesh = Mesh::start().await;
    let row = graph(
        json!([
            task("a", "one"),
            task("b", "${$nodes.a.output} two"),
            task("c", "${$nodes.b.output} three")
        ]),
        &[("a", "b"), ("b", "c")],
    );
    let (id, run) = mesh.carry_out(&row, json!({})).await;
    assert_eq!(output(&run, "c")["output"], "one two three");
    assert_eq!(output(&run, "c")["session_id"], id);

    let diamond = graph(
        json!([
            task("a", "a"),
            task("b", "b"),
            task("c", "slow 50 c"),
            task("d", "d")
        ]),
        &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")],
    );
    let (id, run) = mesh.carry_out(&diamond, json!({})).await;
    assert_eq!(output(&run, "d")["output"], "d");
    for node in ["a", "b", "c", "d"] {
        assert_eq!(mesh.count(&id, EventKind::NodeStarted, node).await, 1);
        assert_eq!(mesh.count(&id, EventKind::NodeCompleted, node).await, 1);
    }
    let asked = mesh.asked.lock().clone();
    assert_eq!(asked.len(), 7, "{asked:?}");
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
    mesh.drain().await;
}

#[tokio::test]
async fn a_branch_is_taken_by_its_condition_and_the_other_is_skipped() {
    let mesh = Mesh::start().await;
    let workflow = json!({
        "nodes": [
            task("score", "{\"score\": 91}"),
            {"id": "choose", "type": "conditional", "config": {}},
            task("good", "good"), task("bad", "bad"), task("end", "end"),
        ],
        "edges": [
            {"from": "score", "to": "choose"},
            {"from": "choose", "to": "good", "condition": "ctx.score.result.score > 80"},
            {"from": "choose", "to": "bad"},
            {"from": "good", "to": "end"}, {"from": "bad", "to": "end"},
        ],
    });
    let (_, run) = mesh.carry_out(&workflow, json!({})).await;
    assert_eq!(status(&run, "good"), NodeStatus::Completed);
    assert_eq!(status(&run, "bad"), NodeStatus::Skipped);
    assert_eq!(output(&run, "end")["output"], "end");
    mesh.drain().await;
}

#[tokio::test]
async fn a_failed_node_fails_its_run_after_its_attempts_and_a_retry_goes_on() {
    let mesh = Mesh::start().await;
    let mut failing = task("b", "fail");
    failing["retry"] = json!({"max_attempts": 2, "backoff_ms": 50});
    let workflow = graph(json!([task("a", "a"), failing]), &[("a", "b")]);
    let id = mesh.begin(&workflow, json!({})).await;
    let run = mesh.becomes(&id, RunStatus::Failed).await;
    assert!(run.error().unwrap().contains("it was told to"), "{run:?}");
    assert_eq!(mesh.count(&id, EventKind::NodeRetrying, "b").await, 1);
    let (code, _) = mesh.send(&id, "retry", json!({"by": "ann"})).await;
    assert_eq!(code, 200);
    mesh.becomes(&id, RunStatus::Failed).await;
    assert_eq!(mesh.count(&id, EventKind::NodeCompleted, "a").await, 1);
    mesh.drain().await;
}

#[tokio::test]
async fn a_child_run_answers_its_parent_and_its_failure_fails_it() {
    let mesh = Mesh::start().await;
    let parent = |task_of_child: &str| {
        let child = graph(json!([task("inner", task_of_child)]), &[]);
        graph(
            json!([
                {"id": "sub", "type": "sub_workflow", "config": {"workflow": child, "inputs": {"x": 1}}},
                task("after", "after"),
            ]),
            &[("sub", "after")],
        )
    };
    let (_, run) = mesh.carry_out(&parent("hello"), json!({})).await;
    assert_eq!(output(&run, "sub")["output"], "hello", "{:#?}", run.nodes());
    let mut failing = parent("fail");
    failing["nodes"][0]["config"]["workflow"]["nodes"][0]["retry"] = json!({"max_attempts": 1});
    failing["nodes"][0]["retry"] = json!({"max_attempts": 1});
    let id = mesh.begin(&failing, json!({})).await;
    let run = mesh.becomes(&id, RunStatus::Failed).await;
    assert!(run.error().unwrap().contains("it was told to"));
    mesh.drain().await;
}

#[tokio::test]
async fn an_agent_patches_its_run_and_a_started_node_is_not_patched() {
    let mesh = Mesh::start().await;
    let operations = json!([
        {"op": "add", "path": "/nodes/-", "value": task("added", "added")},
        {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": "added"}},
    ]);
    let workflow = graph(
        json!([
            task("a", &format!("patch {operations}")),
            task("b", "slow 300 b")
        ]),
        &[("a", "b")],
    );
    let id = mesh.begin(&workflow, json!({})).await;
    let run = mesh.becomes(&id, RunStatus::Completed).await;
    assert_eq!(output(&run, "added")["output"], "added");
    assert_eq!(run.patches().len(), 1);
    assert_eq!(mesh.count(&id, EventKind::NodeCompleted, "added").await, 1);

    let slow = graph(json!([task("a", "slow 3000 a")]), &[]);
    let id = mesh.begin(&slow, json!({})).await;
    let running = async || mesh.count(&id, EventKind::NodeStarted, "a").await == 1;
    while !running().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let patch = json!({
        "operations": [{"op": "replace", "path": "/nodes/@a/config/task", "value": "other"}],
        "description": "too late", "author": "ann",
    });
    let (code, body) = mesh.send(&id, "patch", patch).await;
    assert_eq!(code, 409, "{body}");
    assert!(body["message"].as_str().unwrap().contains('a'), "{body}");
    mesh.drain().await;
}

#[tokio::test]
async fn for_each_goes_over_its_items_and_an_unserved_function_is_skipped() {
    let mesh = Mesh::start().await;
    let workflow = graph(
        json!([
            {"id": "each", "type": "for_each", "config": {
                "items": ["x", "y", "z"], "concurrency": 2,
                "node": {"type": "agent", "config": {"agent": "helper-agent", "task": "${item}"}},
            }},
            {"id": "nobody", "type": "function", "config": {"function_name": "who_knows"}},
        ]),
        &[("each", "nobody")],
    );
    let (_, run) = mesh.carry_out(&workflow, json!({})).await;
    assert_eq!(status(&run, "nobody"), NodeStatus::Skipped);
    let results = output(&run, "each");
    assert!(results.to_string().contains('z'), "{results}");
    mesh.drain().await;
}

#[tokio::test]
async fn a_cancelled_run_calls_its_jobs_off_within_a_second() {
    let mesh = Mesh::start().await;
    let workflow = graph(json!([task("a", "slow 20000 a")]), &[]);
    let id = mesh.begin(&workflow, json!({})).await;
    while mesh.asked.lock().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let (code, _) = mesh
        .send(&id, "cancel", json!({"by": "ann", "reason": "enough"}))
        .await;
    assert_eq!(code, 200);
    mesh.becomes(&id, RunStatus::Cancelled).await;
    assert!(began.elapsed().as_secs_f64() < 2.0, "{:?}", began.elapsed());
    mesh.drain().await;
}

#[tokio::test]
async fn a_run_that_is_called_off_before_it_begins_runs_nothing() {
    let mesh = Mesh::start().await.without_workflow_runner().await;
    let workflow = graph(json!([{"id": "a", "type": "noop", "config": {}}]), &[]);
    let id = mesh.begin(&workflow, json!({})).await;
    let command = runs::Command {
        run_id: id.clone(),
        id: runs::new_id(),
        kind: "cancel".to_owned(),
        body: json!({"by": "ann", "reason": "enough"}),
    };
    mesh.store.send(&command).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mesh = mesh.restart(std::time::Duration::ZERO).await;
    let ended = mesh_testkit::until("it ended", crate::support::PATIENCE, async || {
        let summary = mesh.store.run(&id).await.unwrap().summary;
        summary.ended_at.map(|_| summary.status)
    })
    .await;
    assert_eq!(ended, "CANCELLED");
    let answers = mesh.store.answers(&[command.id]).await.unwrap();
    assert_eq!(answers[0].1.status, 200);
    let kinds: Vec<_> = mesh
        .events(&id)
        .await
        .into_iter()
        .map(|it| it.kind)
        .collect();
    assert_eq!(kinds, [EventKind::WorkflowCancelled]);
    mesh.drain().await;
}
