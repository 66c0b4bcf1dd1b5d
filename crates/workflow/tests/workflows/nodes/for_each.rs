//! Nodes that are carried out for each element of a list.

use mesh_workflow::{Input, Output, RunStatus};
use serde_json::{Value, json};

use super::after;
use crate::support::{World, graph};

fn for_each(config: Value, items: &Value) -> World {
    let mut config = config;
    config["items"] = items.clone();
    let node = json!({"id": "n", "type": "for_each", "config": config});
    after(json!({"list": [10, 20, 30], "k": "v"}), &node)
}

#[test]
fn for_each_runs_so_many_at_a_time_and_keeps_the_order() {
    let item = json!({"type": "call", "config": {
        "service": "s", "method": "m", "payload": {"v": "$item", "at": "$index", "k": "$nodes.a.k"}}});
    let mut world = for_each(
        json!({"node": item, "concurrency": 2}),
        &json!("$nodes.a.list"),
    );
    assert_eq!(world.submitted[1..], ["r.n.0.1", "r.n.1.1"]);
    assert_eq!(
        world.jobs["r.n.1.1"].config["payload"],
        json!({"v": 20, "at": 1, "k": "v"})
    );
    world.succeed_job("r.n.1.1", json!("b"));
    world.fail_job("r.n.0.1", true);
    assert_eq!(world.jobs["r.n.0.2"].delay_ms, 1000);
    world.succeed_job("r.n.2.1", json!("c"));
    world.succeed_job("r.n.0.2", json!("a"));
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!(["a", "b", "c"]));
}

#[test]
fn for_each_fails_with_an_item_or_goes_on() {
    let item = json!({"type": "call", "config": {"service": "s", "method": "m"}});
    let mut world = for_each(json!({"node": item}), &json!([1, 2, 3]));
    world.fail_job("r.n.1.1", false);
    world.is(RunStatus::Failed);
    assert_eq!(world.error("n"), "item 1: boom");

    let mut world = for_each(
        json!({"node": item, "on_error": "continue"}),
        &json!([1, 2, 3]),
    );
    world.fail_job("r.n.1.1", false);
    world.succeed_job("r.n.0.1", json!("a"));
    world.succeed_job("r.n.2.1", json!("c"));
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!(["a", {"error": "boom"}, "c"]));
}

#[test]
fn for_each_of_workflows_starts_children() {
    let mut world = for_each(
        json!({"workflow": "tag", "inputs": {"x": "$item"}}),
        &json!([1, 2]),
    );
    assert_eq!(world.children["r.n.1.1"].inputs, json!({"x": 2}));
    for key in ["r.n.0.1", "r.n.1.1"] {
        world.children.remove(key);
        world.step(Input::ChildEnded {
            key: key.to_owned(),
            result: Ok(Output::inline(json!(key))),
        });
    }
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!(["r.n.0.1", "r.n.1.1"]));
}

#[test]
fn for_each_of_nothing_or_of_what_the_engine_does_is_done_at_once() {
    let item = json!({"type": "transform", "config": {"expression": "item * 2 + index"}});
    let world = for_each(json!({"node": item}), &json!([]));
    assert_eq!(world.output("n"), json!([]));
    let world = for_each(json!({"node": item}), &json!([5, 6]));
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!([10, 13]));
    let world = for_each(json!({"node": item}), &json!("5"));
    world.is(RunStatus::Failed);
    let items: Vec<u32> = (0..10_000).collect();
    let world = for_each(json!({"node": item}), &json!(items));
    world.is(RunStatus::Completed);
    assert_eq!(
        world.output("n"),
        json!((0..10_000).map(|n| n * 3).collect::<Vec<u32>>())
    );
}

#[test]
fn for_each_in_a_loop_numbers_its_items_on() {
    let document = graph(
        &[
            json!({"id": "n", "type": "for_each", "config": {"items": [1, 2], "node": {
                "type": "call", "config": {"service": "s", "method": "m"}}}}),
            json!({"id": "l", "type": "loop", "config": {"max_iterations": 2, "loop_back_to": "n"}}),
        ],
        &[json!("n>l")],
    );
    let mut world = World::new(&document);
    for key in ["r.n.0.1", "r.n.1.1", "r.n.2.1", "r.n.3.1"] {
        world.succeed_job(key, json!(key));
    }
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!(["r.n.2.1", "r.n.3.1"]));
}
