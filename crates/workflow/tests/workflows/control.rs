//! Pause, cancel, deadlines, compensation, another try, forks.

use std::sync::Arc;

use mesh_workflow::{EventKind, Input, NodeStatus, Refusal, Run, RunStatus};
use serde_json::{Value, json};

use crate::support::{World, graph, job_with, start};

fn cancel() -> Input {
    Input::Cancel {
        by: "me".to_owned(),
        reason: "enough".to_owned(),
    }
}

fn retry() -> Input {
    Input::Retry {
        by: "me".to_owned(),
    }
}

/// A node that `undo ID` undoes.
fn undone(id: &str) -> Value {
    let undo = json!({"type": "call", "config": {
        "service": "s", "method": "m", "payload": {"undo": id, "of": format!("$nodes.{id}.n")}}});
    job_with(id, &json!({"compensate": undo}))
}

#[test]
fn a_paused_run_starts_nothing_until_it_is_resumed() {
    let mut world = World::new(&graph(
        &[json!("a"), json!("b"), json!("c")],
        &[json!("a>b")],
    ));
    world.step(Input::Pause {
        by: "me".to_owned(),
    });
    assert!(matches!(
        world.try_step(Input::Pause {
            by: "me".to_owned()
        }),
        Err(Refusal::Conflict(_))
    ));
    world.succeed("a", json!(1));
    world.fail("c", true);
    assert!(world.jobs.is_empty());
    world.is(RunStatus::Running);
    world.step(Input::Resume {
        by: "me".to_owned(),
    });
    world.succeed("b", json!(1));
    world.succeed("c", json!(1));
    world.is(RunStatus::Completed);
    assert!(matches!(
        world.try_step(Input::Resume {
            by: "me".to_owned()
        }),
        Err(Refusal::Conflict(_))
    ));
}

#[test]
fn cancel_calls_all_off_and_undoes_what_completed_latest_first() {
    let document = graph(
        &[
            undone("a"),
            undone("b"),
            json!("c"),
            json!({"id": "t", "type": "timer", "config": {"duration_ms": 9}}),
            json!({"id": "h", "type": "hitl", "config": {"message": "?"}}),
        ],
        &[json!("a>b"), json!("b>c"), json!("a>t"), json!("a>h")],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 1}));
    world.succeed("b", json!({"n": 2}));
    world.step(cancel());
    assert_eq!(world.status("c"), NodeStatus::Cancelled);
    assert_eq!(world.status("h"), NodeStatus::Cancelled);
    assert!(world.timers.is_empty() && world.approvals.is_empty());
    world.is(RunStatus::Running);
    assert_eq!(
        world.jobs["r.b.0.c1"].config["payload"],
        json!({"undo": "b", "of": 2})
    );
    // An attempt to undo is repeated as any other.
    world.fail_job("r.b.0.c1", true);
    world.succeed_job("r.b.0.c2", json!(1));
    world.succeed_job("r.a.0.c1", json!(1));
    world.is(RunStatus::Cancelled);
    assert_eq!(
        world.events.last().map(|event| event.kind),
        Some(EventKind::WorkflowCancelled)
    );
    assert!(matches!(
        world.try_step(cancel()),
        Err(Refusal::Conflict(_))
    ));
}

#[test]
fn terminate_undoes_nothing() {
    let mut world = World::new(&graph(&[undone("a"), json!("b")], &[json!("a>b")]));
    world.succeed("a", json!({"n": 1}));
    world.step(Input::Terminate {
        by: "me".to_owned(),
        reason: String::new(),
    });
    world.is(RunStatus::Cancelled);

    let mut world = World::new(&graph(&[undone("a"), json!("b")], &[json!("a>b")]));
    world.succeed("a", json!({"n": 1}));
    world.step(cancel());
    world.step(Input::Terminate {
        by: "me".to_owned(),
        reason: String::new(),
    });
    world.is(RunStatus::Cancelled);
}

#[test]
fn a_failed_run_undoes_too_and_a_failure_to_undo_does_not_stop_it() {
    let mut world = World::new(&graph(
        &[undone("a"), undone("b"), json!("c")],
        &[json!("a>b"), json!("b>c")],
    ));
    world.succeed("a", json!({"n": 1}));
    // What refers to something that is missing cannot be undone.
    world.succeed("b", json!({}));
    world.fail("c", false);
    world.succeed_job("r.a.0.c1", json!(1));
    world.is(RunStatus::Failed);
    assert_eq!(world.run.error(), Some("boom"));
}

#[test]
fn every_iteration_that_completed_is_undone() {
    let document = graph(
        &[
            undone("a"),
            json!({"id": "l", "type": "loop", "config": {"max_iterations": 2, "loop_back_to": "a"}}),
            json!("z"),
        ],
        &[json!("a>l"), json!("l>z")],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 1}));
    world.succeed("a", json!({"n": 2}));
    world.fail("z", false);
    world.succeed_job("r.a.1.c1", json!(1));
    world.succeed_job("r.a.0.c1", json!(1));
    world.is(RunStatus::Failed);
}

#[test]
fn the_deadline_of_a_run_counts_waiting_and_says_so() {
    let mut document = graph(
        &[
            undone("a"),
            json!({"id": "h", "type": "hitl", "config": {}}),
        ],
        &[json!("a>h")],
    );
    document["deadline_ms"] = json!(10_000);
    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 1}));
    world.is(RunStatus::WaitingForApproval);
    world.due("r.@deadline");
    world.succeed_job("r.a.0.c1", json!(1));
    world.is(RunStatus::Failed);
    assert!(
        world
            .run
            .error()
            .is_some_and(|error| error.contains("10000 ms") && error.contains("people"))
    );

    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 1}));
    world.decide("r.h.0", true, "x");
    world.is(RunStatus::Completed);
}

#[test]
fn another_try_goes_on_from_what_failed() {
    let document = graph(
        &[json!("a"), json!("b"), json!("c"), json!("d")],
        &[json!("a>b"), json!("b>d"), json!("a>c"), json!("c>d")],
    );
    let mut world = World::new(&document);
    assert!(matches!(world.try_step(retry()), Err(Refusal::Conflict(_))));
    world.succeed("a", json!(1));
    world.fail("b", false);
    world.succeed("c", json!(1));
    world.is(RunStatus::Failed);
    world.step(retry());
    world.is(RunStatus::Running);
    assert_eq!(world.job("b"), "r.b.1.1");
    assert_eq!(world.jobs.len(), 1);
    world.succeed("b", json!(1));
    world.succeed("d", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeStarted, "a"), 1);
    assert_eq!(world.count(EventKind::NodeStarted, "c"), 1);
}

#[test]
fn another_try_does_again_what_was_undone() {
    let mut world = World::new(&graph(&[undone("a"), json!("b")], &[json!("a>b")]));
    world.succeed("a", json!({"n": 1}));
    world.fail("b", false);
    world.succeed_job("r.a.0.c1", json!(1));
    world.is(RunStatus::Failed);
    world.step(retry());
    world.succeed_job("r.a.1.1", json!({"n": 1}));
    world.succeed_job("r.b.1.1", json!(1));
    world.is(RunStatus::Completed);
}

#[test]
fn another_try_of_a_cancelled_run_and_of_items() {
    let item = json!({"type": "call", "config": {"service": "s", "method": "m"}});
    let document = graph(
        &[
            json!({"id": "n", "type": "for_each", "config": {"items": [1, 2, 3], "node": item}}),
            json!({"id": "h", "type": "hitl", "config": {}}),
        ],
        &[],
    );
    let mut world = World::new(&document);
    world.succeed_job("r.n.0.1", json!("a"));
    world.fail_job("r.n.1.1", false);
    assert_eq!(world.status("n"), NodeStatus::Failed);
    world.step(cancel());
    world.is(RunStatus::Cancelled);
    world.step(retry());
    // What was done stays done.
    assert!(!world.jobs.contains_key("r.n.0.2"));
    world.succeed_job("r.n.1.2", json!("b"));
    world.succeed_job("r.n.2.2", json!("c"));
    assert_eq!(world.output("n"), json!(["a", "b", "c"]));
    world.decide("r.h.1", true, "x");
    world.is(RunStatus::Completed);
}

#[test]
fn a_fork_takes_over_what_is_not_after_its_node() {
    let document = graph(
        &[json!("a"), json!("b"), json!("c"), json!("d")],
        &[json!("a>b"), json!("b>d"), json!("a>c"), json!("c>d")],
    );
    let mut world = World::new(&document);
    world.succeed("a", json!({"n": 1}));
    world.succeed("b", json!({"n": 2}));
    world.fail("c", false);
    world.is(RunStatus::Failed);
    let mut again = start(json!({"other": true}));
    again.run_id = "f".to_owned();
    let limits = world.limits;
    let (fork, step) = world
        .run
        .fork(&again, "c", None, &limits, 2_000_000)
        .expect("it forks");
    assert_eq!(fork.status(), RunStatus::Queued);
    assert!(step.effects.is_empty());
    let base = Arc::new(fork.workflow().clone());
    let mut forked = World::of(base, fork, step);
    let first = forked.run.begin(&limits, 2_000_001);
    assert_eq!(first.effects.len(), 1);
    assert_eq!(forked.run.begin(&limits, 2_000_002).effects.len(), 0);
    forked.store_step(first);
    assert_eq!(forked.job("c"), "f.c.0.1");
    forked.succeed("c", json!({"n": 3}));
    forked.succeed("d", json!({"n": 4}));
    forked.is(RunStatus::Completed);
    assert_eq!(forked.output("b"), json!({"n": 2}));

    // With operations: what is taken over cannot be changed.
    let remove = |at: u32| json!([{"op": "remove", "path": format!("/edges/{at}")}]);
    let operations = json!([
        {"op": "add", "path": "/nodes/-", "value": {"id": "e", "type": "noop"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "b", "to": "e"}},
    ]);
    let run = |operations: &Value| world.run.fork(&again, "c", Some(operations), &limits, 1);
    assert!(matches!(run(&remove(0)), Err(Refusal::Conflict(_))));
    let (mut fork, _) = run(&operations).expect("it forks");
    fork.begin(&limits, 2);
    let views = fork.nodes();
    assert!(
        views
            .iter()
            .any(|view| view.node_id == "e" && view.status == NodeStatus::Completed)
    );
    assert!(matches!(
        world.run.fork(&again, "zz", None, &limits, 1),
        Err(Refusal::Invalid { .. })
    ));
}

#[test]
fn records_that_are_damaged_are_refused() {
    let world = World::new(&graph(&[json!("a")], &[]));
    let good = world.run.records();
    let load = |records| Run::load(Arc::clone(&world.base), &records, &mut |_| None);
    assert!(load(good.clone()).is_ok());
    let mut bad = good.clone();
    bad.header = b"{".to_vec();
    assert!(load(bad).is_err());
    let mut bad = good.clone();
    bad.nodes.clear();
    assert!(load(bad).is_err());
    let mut bad = good;
    bad.nodes.push(("zzz".to_owned(), b"{}".to_vec()));
    assert!(load(bad).is_err());
}
