//! What is wrong with a workflow is told all at once, each mistake with its place.

mod configurations;

use mesh_workflow::{Limits, MAX_DOCUMENT, Mistake, Workflow};
use serde_json::{Value, json};

fn mistakes(document: &Value) -> Vec<Mistake> {
    match Workflow::parse(document, &Limits::default()) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.mistakes,
    }
}

/// There is a mistake at this place that says so.
fn wrong(document: &Value, path: &str, message: &str) {
    let found = mistakes(document);
    let known = found
        .iter()
        .any(|mistake| mistake.path == path && mistake.message.contains(message));
    assert!(known, "no `{message}` at {path} of {document}: {found:#?}");
}

fn noop(id: &str) -> Value {
    json!({"id": id, "type": "noop"})
}

fn node(kind: &str, config: &Value) -> Value {
    json!({"nodes": [{"id": "n", "type": kind, "config": config}], "edges": []})
}

#[test]
fn documents() {
    wrong(&json!(5), "", "has to be an object");
    wrong(&json!({}), "/nodes", "missing");
    wrong(&json!({"nodes": 5}), "/nodes", "list");
    wrong(&json!({"nodes": []}), "/nodes", "at least one");
    wrong(&json!({"nodes": [noop("a")], "edges": 5}), "/edges", "list");
    wrong(
        &json!({"nodes": [noop("a")], "metadata": 5}),
        "/metadata",
        "object",
    );
    wrong(
        &json!({"nodes": [noop("a")], "deadline_ms": "x"}),
        "/deadline_ms",
        "whole number",
    );
    wrong(
        &json!({"nodes": [noop("a")], "metadata": {"patches": "x"}}),
        "/metadata/patches",
        "one of",
    );
    wrong(
        &json!({"nodes": [noop("a")], "patch_approval": {"approvers": ["a"], "quorum": 2}}),
        "/patch_approval/quorum",
        "approvers",
    );
    wrong(
        &json!({"nodes": [noop("a")], "metadata": {"patch_approval": 5}}),
        "/metadata/patch_approval",
        "object",
    );
    wrong(&json!({"nodes": [5]}), "/nodes/0", "object");
    wrong(
        &json!({"nodes": [{"type": "noop"}]}),
        "/nodes/0/id",
        "missing",
    );
    for id in ["", "a b", "ä", &"x".repeat(65)] {
        wrong(&json!({"nodes": [noop(id)]}), "/nodes/0/id", "1 to 64");
    }
    wrong(
        &json!({"nodes": [noop("a"), noop("a")]}),
        "/nodes/1/id",
        "twice",
    );
    wrong(
        &json!({"nodes": [{"id": "a", "type": "zzz"}]}),
        "/nodes/0/type",
        "unknown type",
    );
    wrong(&json!({"nodes": [{"id": "a"}]}), "/nodes/0/type", "missing");
    assert_eq!(mistakes(&json!({"nodes": [noop("a")]})), []);
}

#[test]
fn too_large_or_too_deep() {
    let many: Vec<Value> = (0..501).map(|at| noop(&format!("n{at}"))).collect();
    wrong(&json!({"nodes": many}), "/nodes", "at most 500");
    let edges: Vec<Value> = (0..5001).map(|_| json!({"from": "a", "to": "a"})).collect();
    wrong(
        &json!({"nodes": [noop("a")], "edges": edges}),
        "/edges",
        "at most 5000",
    );
    let text = "x".repeat(MAX_DOCUMENT);
    wrong(
        &json!({"nodes": [noop("a")], "metadata": {"text": text}}),
        "",
        "too large",
    );
    let mut deep = json!(1);
    for _ in 0..110 {
        deep = json!({"d": deep});
    }
    wrong(
        &json!({"nodes": [noop("a")], "metadata": deep}),
        "",
        "too deep",
    );
}

#[test]
fn edges() {
    let with = |edge: Value| json!({"nodes": [noop("a"), noop("b")], "edges": [edge]});
    wrong(&with(json!(1)), "/edges/0", "object");
    wrong(&with(json!({"from": "a"})), "/edges/0/to", "missing");
    wrong(
        &with(json!({"from": "zz", "to": "b"})),
        "/edges/0/from",
        "no node `zz`",
    );
    wrong(
        &with(json!({"from": "a", "to": 5})),
        "/edges/0/to",
        "id of a node",
    );
    wrong(
        &with(json!({"from": "a", "to": "b", "on": "x"})),
        "/edges/0/on",
        "one of",
    );
    wrong(
        &with(json!({"from": "a", "to": "b", "condition": 5})),
        "/edges/0/condition",
        "text",
    );
}

#[test]
fn expressions_with_their_columns() {
    let with = |condition: &str| json!({"nodes": [noop("a"), noop("b")], "edges": [{"from": "a", "to": "b", "condition": condition}]});
    for (condition, message) in [
        ("output.x >", "(column 11)"),
        ("$.x >", "(column 6)"),
        ("output.x == == 1", "(column 13)"),
        ("outptu.x == 1", "unknown name `outptu`"),
        ("1 + nope(2)", "unknown function `nope`: "),
        ("((((((((((((((1))))))))))))))", "too deep"),
        ("[1].map(x, [2].map(y, y))", "nested"),
        ("output.matches('(')", "pattern"),
    ] {
        let message = message.trim_end_matches(": ");
        wrong(&with(condition), "/edges/0/condition", message);
    }
    wrong(&with(&"x".repeat(3000)), "/edges/0/condition", "2048");
    wrong(
        &with("((((((((((((((1))))))))))))))"),
        "/edges/0/condition",
        "(column 13)",
    );
    wrong(&with("1 + nope(2)"), "/edges/0/condition", "(column 5)");
}

#[test]
fn graphs() {
    let document = |nodes: &[&str], edges: &[(&str, &str)]| {
        let nodes: Vec<Value> = nodes.iter().map(|id| noop(id)).collect();
        let edges: Vec<Value> = edges
            .iter()
            .map(|(from, to)| json!({"from": from, "to": to}))
            .collect();
        json!({"nodes": nodes, "edges": edges})
    };
    let cycle = document(&["a", "b", "c"], &[("a", "b"), ("b", "c"), ("c", "b")]);
    wrong(&cycle, "/edges/1", "a cycle without a loop: b → c → b");
    wrong(&document(&["a"], &[("a", "a")]), "/edges/0", "a → a");
    let all = document(&["a", "b"], &[("a", "b"), ("b", "a")]);
    wrong(&all, "/nodes", "no entry");
    let apart = document(&["a", "b", "c"], &[("b", "c"), ("c", "b")]);
    wrong(&apart, "/nodes/1", "cannot be reached");
    wrong(&apart, "/nodes/2", "cannot be reached");
    let mut join = document(&["a", "b"], &[("a", "b")]);
    join["nodes"][1]["join"] = json!(2);
    wrong(&join, "/nodes/1/join", "1 lead to it");
    join["nodes"][1]["join"] = json!("some");
    wrong(&join, "/nodes/1/join", "`all`, `any` or a number");
}

#[test]
fn loops() {
    let document = |config: Value| {
        json!({"nodes": [noop("a"), {"id": "l", "type": "loop", "config": config}, noop("z")],
               "edges": [{"from": "a", "to": "l"}, {"from": "l", "to": "z"}]})
    };
    let at = |key: &str| format!("/nodes/1/config/{key}");
    wrong(&document(json!({})), &at("max_iterations"), "missing");
    wrong(&document(json!({})), &at("loop_back_to"), "missing");
    wrong(
        &document(json!({"max_iterations": 1001, "loop_back_to": "a"})),
        &at("max_iterations"),
        "1 to 1000",
    );
    wrong(
        &document(json!({"max_iterations": 5, "loop_back_to": "q"})),
        &at("loop_back_to"),
        "no node `q`",
    );
    wrong(
        &document(json!({"max_iterations": 5, "loop_back_to": "z"})),
        &at("loop_back_to"),
        "before it",
    );
    wrong(
        &document(json!({"max_iterations": 5, "loop_back_to": "a", "break_path": ["q"]})),
        &at("break_path/0"),
        "no node `q`",
    );
    wrong(
        &document(json!({"max_iterations": 5, "loop_back_to": "a", "condition": "("})),
        &at("condition"),
        "column",
    );
    assert_eq!(
        mistakes(&document(json!({"max_iterations": 5, "loop_back_to": "a"}))),
        []
    );
    // The way back may be drawn.
    let mut drawn = document(json!({"max_iterations": 5, "loop_back_to": "a"}));
    if let Some(edges) = drawn["edges"].as_array_mut() {
        edges.push(json!({"from": "l", "to": "a"}));
    }
    assert_eq!(mistakes(&drawn), []);
    // Two loops that wait for one another: each has a node beside its way that needs the other.
    let crossed = json!({
        "nodes": [noop("s"), noop("b1"), noop("b3"), noop("x"), noop("y"),
            {"id": "l1", "type": "loop", "config": {"max_iterations": 2, "loop_back_to": "b1"}},
            {"id": "l3", "type": "loop", "config": {"max_iterations": 2, "loop_back_to": "b3"}}],
        "edges": [{"from": "b1", "to": "l1"}, {"from": "b1", "to": "x"}, {"from": "l3", "to": "x"},
            {"from": "b3", "to": "l3"}, {"from": "b3", "to": "y"}, {"from": "l1", "to": "y"}],
    });
    wrong(&crossed, "/edges", "wait for one another");
}

#[test]
fn fields_of_nodes() {
    for (key, value, path, message) in [
        ("timeout_ms", json!(-5), "timeout_ms", "whole number"),
        ("deadline_ms", json!(0), "deadline_ms", "whole number"),
        ("retry", json!(5), "retry", "object"),
        (
            "retry",
            json!({"max_attempts": 0}),
            "retry/max_attempts",
            "whole number",
        ),
        (
            "retry",
            json!({"backoff_ms": -1}),
            "retry/backoff_ms",
            "whole number",
        ),
        (
            "retry",
            json!({"backoff_multiplier": 0.5}),
            "retry/backoff_multiplier",
            "number from 1",
        ),
        ("priority", json!(6), "priority", "1 to 5"),
        ("queue", json!("a b"), "queue", "queue's name"),
        ("on_error", json!("x"), "on_error", "one of"),
        ("cancel_rest", json!(1), "cancel_rest", "true or false"),
        (
            "compensate",
            json!({"type": "noop"}),
            "compensate/type",
            "is a job",
        ),
        (
            "compensate",
            json!({"type": "http"}),
            "compensate/config/url",
            "missing",
        ),
    ] {
        let mut document = node("noop", &json!({}));
        document["nodes"][0][key] = value;
        wrong(&document, &format!("/nodes/0/{path}"), message);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let document = json!({
        "nodes": [noop("a"), noop("a"), {"id": "b", "type": "http", "config": {}}, {"id": "c", "type": "what"}],
        "edges": [{"from": "a", "to": "zz"}, {"from": "b", "to": "c", "condition": "1 +"}, {"from": "c", "to": "b"}],
    });
    let found = mistakes(&document);
    let mut paths: Vec<_> = found.iter().map(|mistake| mistake.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "/edges/0/to",
        "/edges/1",
        "/edges/1/condition",
        "/nodes/1/id",
        "/nodes/2",
        "/nodes/2/config/url",
        "/nodes/3",
        "/nodes/3/type",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn a_form_that_data_does_not_fit() {
    let form = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}});
    assert_eq!(mesh_workflow::check_form(&form, &json!({"n": 2})), Ok(()));
    assert_eq!(
        mesh_workflow::check_form(&json!(null), &json!("anything")),
        Ok(())
    );
    let wrong = mesh_workflow::check_form(&form, &json!({"n": 0})).expect_err("it is too small");
    assert_eq!(wrong[0].path, "/n");
    assert!(mesh_workflow::check_form(&form, &json!({})).is_err());
}
