//! What the engine does itself: transforms, filters, aggregates, and hands on.

use mesh_workflow::RunStatus;
use serde_json::json;

use super::after;
use crate::support::{World, graph};

#[test]
fn the_engine_transforms() {
    for (config, expected) in [
        (
            json!({"expression": "output.n * 2 + size(ctx.a.list)"}),
            json!(13),
        ),
        (
            json!({"fields": {"x": "input.n", "y": "'v' + string(inputs.k)"}}),
            json!({"x": 5, "y": "v9"}),
        ),
        (
            json!({"value": {"n": "$nodes.a.n", "t": "n is ${nodes.a.n}"}}),
            json!({"n": 5, "t": "n is 5"}),
        ),
        (
            json!({"transformation": "uppercase"}),
            json!({"n": 5, "list": ["X", "Y", "Z"]}),
        ),
        (json!({}), json!({"n": 5, "list": ["x", "y", "z"]})),
    ] {
        let node = json!({"id": "n", "type": "transform", "config": config});
        let document = graph(&[json!("a"), node], &[json!("a>n")]);
        let mut world = World::with_inputs(&document, json!({"k": 9}));
        world.succeed("a", json!({"n": 5, "list": ["x", "y", "z"]}));
        world.is(RunStatus::Completed);
        assert_eq!(world.output("n"), expected, "{config}");
    }
}

#[test]
fn the_engine_filters() {
    let list = json!({"items": [{"score": 10}, {"score": 60}, {"score": 70}], "min": 50});
    for (config, expected) in [
        (
            json!({"filter_expression": "value.score > 50"}),
            json!([{"score": 60}, {"score": 70}]),
        ),
        (
            json!({"items": "$nodes.a.items", "expression": "item.score > ctx.a.min && index < 2"}),
            json!([{"score": 60}]),
        ),
        (
            json!({"items": [1, 2, 3], "condition": "item % 2 == 1"}),
            json!([1, 3]),
        ),
    ] {
        let node = json!({"id": "n", "type": "filter", "config": config});
        let world = after(list.clone(), &node);
        world.is(RunStatus::Completed);
        assert_eq!(world.output("n"), expected, "{config}");
    }
}

#[test]
fn the_engine_aggregates() {
    for (config, expected) in [
        (
            json!({"strategy": "merge"}),
            json!({"n": 3, "a": true, "b": true}),
        ),
        (json!({}), json!({"n": 3, "a": true, "b": true})),
        (
            json!({"strategy": "union"}),
            json!([{"n": 1, "a": true}, {"n": 3, "b": true}]),
        ),
        (
            json!({"strategy": "object"}),
            json!({"a": {"n": 1, "a": true}, "b": {"n": 3, "b": true}}),
        ),
        (json!({"strategy": "sum", "field": "n"}), json!(4)),
        (json!({"strategy": "avg", "field": "n"}), json!(2)),
        (json!({"strategy": "max", "field": "n"}), json!(3)),
        (json!({"strategy": "count"}), json!(2)),
        (json!({"strategy": "last"}), json!({"n": 3, "b": true})),
        (json!({"expression": "input.a.n + input.b.n"}), json!(4)),
    ] {
        let node = json!({"id": "n", "type": "aggregate", "config": config});
        let document = graph(
            &[json!("a"), json!("b"), node],
            &[json!("a>n"), json!("b>n")],
        );
        let mut world = World::new(&document);
        world.succeed("b", json!({"n": 3, "b": true}));
        world.succeed("a", json!({"n": 1, "a": true}));
        world.is(RunStatus::Completed);
        assert_eq!(world.output("n"), expected, "{config}");
    }
}

#[test]
fn parallel_join_and_noop_hand_on_what_comes() {
    for kind in ["parallel", "noop", "join", "start", "end"] {
        let node = json!({"id": "n", "type": kind});
        let world = after(json!({"k": 1}), &node);
        world.is(RunStatus::Completed);
        assert_eq!(world.output("n"), json!({"k": 1}));
    }
    let document = graph(
        &[
            json!("a"),
            json!("b"),
            json!({"id": "n", "type": "join", "config": {"join": "any"}}),
        ],
        &[json!("a>n"), json!("b>n")],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!(1));
    assert_eq!(world.output("n"), json!(1));
    world.succeed("b", json!(1));
    world.is(RunStatus::Completed);
}
