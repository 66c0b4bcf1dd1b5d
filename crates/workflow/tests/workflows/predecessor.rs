//! The shapes of workflows that the predecessor's examples have. They end as they say.

use mesh_workflow::{EventKind, NodeStatus, RunStatus};
use serde_json::{Value, json};

use crate::support::World;

fn function(id: &str) -> Value {
    json!({"id": id, "type": "function", "config": {"function_name": id}})
}

fn skipped(id: &str) -> Value {
    json!({"status": "skipped", "warning": "nobody serves it", "node_id": id})
}

fn response(body: &Value) -> Value {
    json!({
        "status": "success", "status_code": 200, "headers": {}, "body": body, "duration_ms": 1,
        "url": "http://x", "method": "GET",
    })
}

#[test]
fn in_a_row() {
    let mut world = World::new(&json!({
        "description": "one after the other",
        "nodes": [
            function("fetch"),
            {"id": "up", "type": "transform", "config": {"transformation": "uppercase"}},
            function("store"),
        ],
        "edges": [{"from": "fetch", "to": "up"}, {"from": "up", "to": "store"}],
    }));
    world.succeed("fetch", skipped("fetch"));
    world.succeed("store", skipped("store"));
    world.is(RunStatus::Completed);
    assert_eq!(world.status("store"), NodeStatus::Skipped);
    assert_eq!(world.output("up")["status"], "SKIPPED");
}

#[test]
fn a_diamond_whose_join_runs_once() {
    let mut world = World::new(&json!({
        "nodes": [
            function("prepare"), function("one"), function("two"),
            {"id": "merge", "type": "aggregate", "config": {"strategy": "merge"}},
        ],
        "edges": [
            {"from": "prepare", "to": "one"}, {"from": "prepare", "to": "two"},
            {"from": "one", "to": "merge"}, {"from": "two", "to": "merge"},
        ],
    }));
    for node in ["prepare", "one", "two"] {
        world.succeed(node, skipped(node));
    }
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeCompleted, "merge"), 1);
}

#[test]
fn a_branch_by_a_field_of_a_response() {
    let document = json!({
        "nodes": [
            {"id": "score", "type": "http", "config": {"method": "GET", "url": "https://x/score"}},
            {"id": "evaluate", "type": "conditional", "config": {"evaluation_field": "score"}},
            function("high"), function("low"), function("finalize"),
        ],
        "edges": [
            {"from": "score", "to": "evaluate"},
            {"from": "evaluate", "to": "high", "condition": "output.score >= 80"},
            {"from": "evaluate", "to": "low", "condition": "output.score < 80"},
            {"from": "high", "to": "finalize"}, {"from": "low", "to": "finalize"},
        ],
    });
    let mut world = World::new(&document);
    world.succeed("score", response(&json!({"score": 85.5})));
    assert_eq!(world.status("low"), NodeStatus::Skipped);
    world.succeed("high", skipped("high"));
    world.succeed("finalize", skipped("finalize"));
    world.is(RunStatus::Completed);
}

#[test]
fn a_branch_as_the_first_node_goes_by_the_inputs() {
    let document = json!({
        "nodes": [{"id": "score", "type": "conditional", "config": {}}, function("high"), function("low")],
        "edges": [
            {"from": "score", "to": "high", "condition": "output.score >= 80"},
            {"from": "score", "to": "low", "condition": "output.score < 80"},
        ],
    });
    let mut world = World::with_inputs(&document, json!({"score": 3}));
    world.succeed("low", skipped("low"));
    world.is(RunStatus::Completed);
}

#[test]
fn a_loop_of_a_function_that_nobody_serves_ends() {
    let mut world = World::new(&json!({
        "nodes": [
            function("start"),
            {"id": "again", "type": "loop", "config": {
                "function_name": "fetch", "max_iterations": 5, "loop_back_to": "again",
                "condition": "output.status != 'success'",
                "break_path": ["good"], "timeout_path": ["bad"],
            }},
            function("good"), function("bad"),
        ],
        "edges": [{"from": "start", "to": "again"}],
    }));
    world.succeed("start", skipped("start"));
    for _ in 0..5 {
        world.succeed("again", skipped("again"));
    }
    assert_eq!(world.status("good"), NodeStatus::Skipped);
    world.succeed("bad", skipped("bad"));
    world.is(RunStatus::Completed);
}

#[test]
fn all_of_it_together() {
    let document = json!({
        "nodes": [
            function("load"),
            {"id": "one", "type": "http", "config": {"url": "https://one/data"}},
            {"id": "two", "type": "http", "config": {"url": "https://two/data"}},
            {"id": "validate", "type": "conditional", "config": {"validation_rules": ["schema"]}},
            {"id": "valid", "type": "transform", "config": {"transformation": "normalize"}},
            function("invalid"),
            {"id": "all", "type": "aggregate", "config": {"strategy": "union"}},
            {"id": "best", "type": "filter", "config": {"filter_expression": "value.score > 50"}},
            function("store"),
        ],
        "edges": [
            {"from": "load", "to": "one"}, {"from": "load", "to": "two"},
            {"from": "one", "to": "validate"}, {"from": "two", "to": "validate"},
            {"from": "validate", "to": "valid", "condition": "output.valid == true"},
            {"from": "validate", "to": "invalid", "condition": "output.valid == false"},
            {"from": "valid", "to": "all"}, {"from": "all", "to": "best"}, {"from": "best", "to": "store"},
        ],
        "metadata": {"name": "all", "version": "1.0.0", "tags": ["production"]},
    });
    let mut world = World::new(&document);
    world.succeed("load", skipped("load"));
    world.succeed("one", response(&json!({"valid": true, "score": 10})));
    world.succeed("two", response(&json!({"valid": true, "score": 60})));
    assert_eq!(world.status("invalid"), NodeStatus::Skipped);
    assert_eq!(world.output("best").as_array().map(Vec::len), Some(1));
    world.succeed("store", skipped("store"));
    world.is(RunStatus::Completed);
}

#[test]
fn the_examples_of_the_documents_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/workflows");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let workflow = document.get("workflow").unwrap_or(&document);
        let read = mesh_workflow::Workflow::parse(workflow, &mesh_workflow::Limits::default());
        assert!(read.is_ok(), "{path:?}: {read:?}");
        count += 1;
    }
    assert!(count >= 4);
}
