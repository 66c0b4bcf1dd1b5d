//! Edges, joins, branches, failures and loops.

use mesh_workflow::{EventKind, NodeStatus, RunStatus};
use serde_json::{Value, json};

use crate::support::{World, graph, job_with};

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| json!(text)).collect()
}

fn of(nodes: &[&str], edges: &[&str]) -> Value {
    graph(&texts(nodes), &texts(edges))
}

#[test]
fn nodes_in_a_row_run_one_after_the_other() {
    let mut world = World::new(&of(&["a", "b", "c"], &["a>b", "b>c"]));
    assert_eq!(world.submitted, ["r.a.0.1"]);
    world.succeed("a", json!({"n": 1}));
    world.succeed("b", json!({"n": 2}));
    world.is(RunStatus::Running);
    world.succeed("c", json!({"n": 3}));
    world.is(RunStatus::Completed);
    assert_eq!(world.run.output(), json!({"n": 3}));
    let kinds: Vec<_> = world.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds.first(), Some(&EventKind::WorkflowStarted));
    assert_eq!(kinds.last(), Some(&EventKind::WorkflowCompleted));
}

#[test]
fn the_join_of_a_diamond_runs_once_and_after_both() {
    let mut world = World::new(&of(&["a", "b", "c", "d"], &["a>b", "a>c", "b>d", "c>d"]));
    world.succeed("a", json!(1));
    world.succeed("b", json!(2));
    assert_eq!(world.status("d"), NodeStatus::NotExecuted);
    world.succeed("c", json!(3));
    world.succeed("d", json!(4));
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeStarted, "d"), 1);
}

#[test]
fn a_branch_that_is_not_taken_is_skipped_and_the_join_does_not_wait() {
    let document = graph(
        &texts(&["a", "b", "c", "d", "e"]),
        &[
            json!({"from": "a", "to": "b", "condition": "output.n > 1"}),
            json!({"from": "a", "to": "c", "condition": "$.n <= 1"}),
            json!("c>d"),
            json!("b>e"),
            json!("d>e"),
        ],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 5}));
    assert_eq!(world.status("c"), NodeStatus::Skipped);
    assert_eq!(world.status("d"), NodeStatus::Skipped);
    world.succeed("b", json!(null));
    world.succeed("e", json!("end"));
    world.is(RunStatus::Completed);
}

#[test]
fn a_conditional_takes_the_first_that_holds_or_else_what_has_no_condition() {
    for (score, kind, expected) in [
        (95, "first", vec!["a", "a2"]),
        (60, "first", vec!["b"]),
        (10, "first", vec!["d"]),
        (95, "all", vec!["a", "a2", "b"]),
        (10, "all", vec!["d"]),
    ] {
        let document = graph(
            &[
                json!("s"),
                json!({"id": "if", "type": "conditional", "config": {"match": kind}}),
                json!("a"),
                json!("b"),
                json!("a2"),
                json!("d"),
            ],
            &[
                json!("s>if"),
                json!({"from": "if", "to": "a", "condition": "output.score >= 90"}),
                json!({"from": "if", "to": "b", "condition": "output.score >= 50"}),
                json!({"from": "if", "to": "a2", "condition": "output.score >= 90"}),
                json!("if>d"),
            ],
        );
        let mut world = World::new(&document);
        world.succeed("s", json!({"score": score}));
        let mut running: Vec<_> = world
            .jobs
            .values()
            .map(|job| job.node_id.as_str())
            .collect();
        running.sort_unstable();
        assert_eq!(running, expected, "{score} {kind}");
    }
}

#[test]
fn a_condition_without_a_value_fails_its_node() {
    let document = graph(
        &texts(&["a", "b"]),
        &[json!({"from": "a", "to": "b", "condition": "output.nothing > 1"})],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!({}));
    world.is(RunStatus::Failed);
    assert!(world.error("a").contains("nothing"), "{}", world.error("a"));
    assert_eq!(world.status("b"), NodeStatus::Skipped);
}

#[test]
fn a_failure_is_remembered_through_skips() {
    // d would have two edges: one from what failed before, one taken.
    let mut world = World::new(&of(&["a", "b", "c", "d"], &["a>b", "b>d", "c>d"]));
    world.fail("a", false);
    world.succeed("c", json!(1));
    assert_eq!(world.status("b"), NodeStatus::Skipped);
    assert_eq!(world.status("d"), NodeStatus::Skipped);
    world.is(RunStatus::Failed);
    assert_eq!(world.run.error(), Some("boom"));
    assert_eq!(world.run.failed_node(), Some("a"));
}

#[test]
fn an_edge_for_failures_takes_care_of_one() {
    let document = graph(
        &texts(&["a", "b", "h", "z"]),
        &[
            json!("a>b"),
            json!({"from": "a", "to": "h", "on": "failure"}),
            json!("b>z"),
            json!("h>z"),
        ],
    );
    let mut world = World::new(&document);
    world.fail("a", false);
    assert_eq!(world.status("b"), NodeStatus::Skipped);
    world.succeed("h", json!(1));
    world.succeed("z", json!(2));
    world.is(RunStatus::Completed);

    let mut world = World::new(&document);
    world.succeed("a", json!(0));
    assert_eq!(world.status("h"), NodeStatus::Skipped);
    world.succeed("b", json!(1));
    world.succeed("z", json!(2));
    world.is(RunStatus::Completed);
}

#[test]
fn an_edge_for_always_is_taken_and_takes_care_of_nothing() {
    let document = graph(
        &texts(&["a", "b", "clean"]),
        &[
            json!("a>b"),
            json!({"from": "b", "to": "clean", "on": "always"}),
        ],
    );
    let mut world = World::new(&document);
    world.fail("a", false);
    world.succeed("clean", json!(1));
    world.is(RunStatus::Failed);
}

#[test]
fn on_error_continue_goes_on_with_the_error_as_the_output() {
    let document = graph(
        &[job_with("a", &json!({"on_error": "continue"})), json!("b")],
        &[json!({"from": "a", "to": "b", "condition": "output.status == 'failed'"})],
    );
    let mut world = World::new(&document);
    world.fail("a", false);
    assert_eq!(world.status("a"), NodeStatus::Failed);
    world.succeed("b", json!(1));
    world.is(RunStatus::Completed);
}

#[test]
fn joins_wait_for_any_or_some() {
    for (join, needed) in [(json!("any"), 1), (json!(2), 2)] {
        let document = graph(
            &[
                json!("a"),
                json!("b"),
                json!("c"),
                job_with("j", &json!({"join": join})),
            ],
            &texts(&["a>j", "b>j", "c>j"]),
        );
        let mut world = World::new(&document);
        for node in ["a", "b"].iter().take(needed) {
            assert_eq!(world.status("j"), NodeStatus::NotExecuted);
            world.succeed(node, json!(1));
        }
        assert_eq!(world.status("j"), NodeStatus::Running);
        world.succeed("j", json!(1));
        world.is(RunStatus::Running);
        for node in ["a", "b", "c"].iter().skip(needed) {
            world.succeed(node, json!(1));
        }
        world.is(RunStatus::Completed);
        assert_eq!(world.count(EventKind::NodeStarted, "j"), 1);
    }
}

#[test]
fn a_join_of_some_tolerates_failures_as_long_as_enough_come() {
    let document = graph(
        &[
            json!("a"),
            json!("b"),
            job_with("j", &json!({"join": "any"})),
        ],
        &texts(&["a>j", "b>j"]),
    );
    let mut world = World::new(&document);
    world.fail("a", false);
    assert_eq!(world.status("j"), NodeStatus::NotExecuted);
    world.succeed("b", json!(1));
    world.succeed("j", json!(1));
    // The failure of `a` nobody took care of.
    world.is(RunStatus::Failed);
}

#[test]
fn cancel_rest_calls_off_what_only_leads_to_the_join() {
    let document = graph(
        &[
            json!("a"),
            json!("b"),
            json!("b2"),
            json!("c"),
            json!("other"),
            job_with("j", &json!({"join": "any", "cancel_rest": true})),
        ],
        &texts(&["a>j", "b>b2", "b2>j", "c>j", "c>other"]),
    );
    let mut world = World::new(&document);
    world.succeed("a", json!(1));
    assert_eq!(world.status("b"), NodeStatus::Cancelled);
    assert_eq!(world.status("b2"), NodeStatus::Cancelled);
    assert_eq!(world.status("c"), NodeStatus::Running);
    world.succeed("j", json!(1));
    world.succeed("c", json!(1));
    world.succeed("other", json!(1));
    world.is(RunStatus::Completed);
}

fn looping(max: u32) -> Value {
    graph(
        &[
            json!("start"),
            json!("work"),
            json!("check"),
            json!({"id": "again", "type": "loop", "config": {
                "max_iterations": max, "loop_back_to": "work", "condition": "!output.done",
                "break_path": ["good"], "timeout_path": ["bad"],
            }}),
            json!("good"),
            json!("bad"),
        ],
        &texts(&["start>work", "work>check", "check>again"]),
    )
}

#[test]
fn a_loop_goes_back_while_its_condition_holds() {
    let mut world = World::new(&looping(5));
    world.succeed("start", json!(1));
    for round in 0..3 {
        world.succeed("work", json!({"round": round}));
        world.succeed("check", json!({"done": round == 2}));
    }
    world.succeed("good", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.status("bad"), NodeStatus::Skipped);
    let works: Vec<_> = world
        .submitted
        .iter()
        .filter(|key| key.contains(".work."))
        .collect();
    assert_eq!(works, ["r.work.0.1", "r.work.1.1", "r.work.2.1"]);
    let views = world.run.nodes();
    assert_eq!(
        views.iter().filter(|view| view.node_id == "work").count(),
        3
    );
}

#[test]
fn a_loop_that_does_not_end_takes_the_path_for_that() {
    let mut world = World::new(&looping(3));
    world.succeed("start", json!(1));
    for _ in 0..3 {
        world.succeed("work", json!(1));
        world.succeed("check", json!({"done": false}));
    }
    world.succeed("bad", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.status("good"), NodeStatus::Skipped);
}

#[test]
fn a_loop_within_a_loop_counts_anew() {
    let document = graph(
        &[
            json!("a"),
            json!("b"),
            json!({"id": "inner", "type": "loop", "config": {
                "max_iterations": 2, "loop_back_to": "b"}}),
            json!("c"),
            json!({"id": "outer", "type": "loop", "config": {
                "max_iterations": 2, "loop_back_to": "a"}}),
            json!("z"),
        ],
        &texts(&["a>b", "b>inner", "inner>c", "c>outer", "outer>z"]),
    );
    let mut world = World::new(&document);
    for _ in 0..2 {
        world.succeed("a", json!(1));
        world.succeed("b", json!(1));
        world.succeed("b", json!(1));
        world.succeed("c", json!(1));
    }
    world.succeed("z", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeStarted, "b"), 4);
}

#[test]
fn an_edge_out_of_a_loop_is_decided_when_it_is_left() {
    let document = graph(
        &[
            json!("a"),
            json!({"id": "l", "type": "loop", "config": {
                "max_iterations": 2, "loop_back_to": "a"}}),
            json!("z"),
            json!("side"),
        ],
        &texts(&["a>l", "l>z", "a>z", "a>side"]),
    );
    let mut world = World::new(&document);
    world.succeed("a", json!(1));
    assert_eq!(world.status("z"), NodeStatus::NotExecuted);
    // What is beside the way back belongs to the iteration, too.
    world.succeed("side", json!(1));
    world.succeed("a", json!(2));
    world.succeed("side", json!(2));
    world.succeed("z", json!(3));
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeStarted, "side"), 2);
}

#[test]
fn a_failure_in_a_loop_ends_it() {
    let mut world = World::new(&looping(5));
    world.succeed("start", json!(1));
    world.succeed("work", json!(1));
    world.fail("check", false);
    world.is(RunStatus::Failed);
    assert_eq!(world.status("good"), NodeStatus::Skipped);
    assert_eq!(world.status("bad"), NodeStatus::Skipped);
}
