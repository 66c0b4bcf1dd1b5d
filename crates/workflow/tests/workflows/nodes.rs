//! Each type of nodes.

mod engine;
mod for_each;

use mesh_workflow::{EventKind, Failure, Input, MAX_INLINE, NodeStatus, Output, RunStatus};
use serde_json::{Value, json};

use crate::support::{World, graph, job, job_with};

fn one(node: &Value) -> Value {
    json!({"nodes": [node], "edges": []})
}

/// What a node answers that comes after a job with this output.
fn after(output: Value, node: &Value) -> World {
    let document = graph(&[json!("a"), node.clone()], &[json!("a>n")]);
    let mut world = World::new(&document);
    world.succeed("a", output);
    world
}

#[test]
fn jobs_get_their_configuration_filled_in() {
    for (kind, config) in [
        (
            "agent",
            json!({"task": "say $nodes", "agent": "echo", "parameters": {"n": "$nodes.a.n"}}),
        ),
        (
            "tool",
            json!({"service": "tool-weather", "method": "m", "payload": "${$nodes.a.n} x"}),
        ),
        (
            "worker",
            json!({"service": "w", "payload": {"deep": ["$inputs.who"]}}),
        ),
        (
            "call",
            json!({"service": "s", "method": "p.S/M", "payload": {"n": "$nodes.a.n"}}),
        ),
        ("pipeline", json!({"goal": "find ${inputs.who}"})),
        (
            "http",
            json!({"url": "http://x/${nodes.a.n}", "headers": {"k": "v"}}),
        ),
        ("function", json!({"function_name": "f"})),
        ("task", json!({"action": "f"})),
    ] {
        let node = json!({
            "id": "n", "type": kind, "config": config, "timeout_ms": 5, "priority": 5, "queue": "q",
        });
        let document = graph(&[json!("a"), node], &[json!("a>n")]);
        let mut world = World::with_inputs(&document, json!({"who": "me"}));
        world.succeed("a", json!({"n": 7}));
        let key = world.job("n");
        let request = world.jobs[&key].clone();
        assert_eq!(key, "r.n.0.1");
        let expected = if kind == "task" { "function" } else { kind };
        assert_eq!(request.node_type, expected);
        assert_eq!((request.timeout_ms, request.priority), (5, 5));
        assert_eq!(request.queue.as_deref(), Some("q"));
        let text = request.config.to_string();
        assert!(!text.contains("$nodes.") && !text.contains("${"), "{text}");
        world.succeed("n", json!({"ok": kind}));
        world.is(RunStatus::Completed);
    }
}

#[test]
fn a_missing_reference_fails_the_node() {
    let world = after(
        json!({}),
        &json!({"id": "n", "type": "http", "config": {"url": "http://x/${nodes.a.gone}"}}),
    );
    world.is(RunStatus::Failed);
    assert!(
        world.error("n").contains("$nodes.a.gone is missing"),
        "{}",
        world.error("n")
    );
}

#[test]
fn the_task_of_the_inputs_replaces_that_of_a_first_agent() {
    let agent = |id: &str| json!({"id": id, "type": "agent", "config": {"task": "old"}});
    let document = graph(&[agent("first"), agent("second")], &[json!("first>second")]);
    let mut world = World::with_inputs(&document, json!({"task": "new"}));
    assert_eq!(world.jobs["r.first.0.1"].config["task"], "new");
    world.succeed("first", json!(1));
    assert_eq!(world.jobs["r.second.0.1"].config["task"], "old");
}

#[test]
fn attempts_are_counted_and_wait_longer_each_time() {
    let retry = json!({"retry": {"max_attempts": 3, "backoff_ms": 100, "backoff_multiplier": 3.0}});
    let mut world = World::new(&one(&job_with("a", &retry)));
    world.fail("a", true);
    assert_eq!(world.jobs["r.a.0.2"].delay_ms, 100);
    // One that the queue has lost does not count.
    let key = world.job("a");
    world.jobs.remove(&key);
    world.step(Input::Lost { key });
    assert_eq!(world.jobs["r.a.0.3"].delay_ms, 0);
    world.fail("a", true);
    assert_eq!(world.jobs["r.a.0.4"].delay_ms, 300);
    world.fail("a", true);
    world.is(RunStatus::Failed);

    let mut world = World::new(&one(&job("a")));
    world.fail("a", false);
    world.is(RunStatus::Failed);
    assert_eq!(world.submitted.len(), 1);
}

#[test]
fn an_attempt_that_has_an_answer_after_all_completes_its_node_if_no_other_follows() {
    let answer = |n: u64| json!({"status_code": n});
    let retry = json!({"retry": {"max_attempts": 2, "backoff_ms": 100}});
    let document = graph(
        &[job_with("a", &retry), json!("b")],
        &[json!({"from": "a", "to": "b", "condition": "output.status_code == 503"})],
    );
    let mut world = World::new(&document);
    world.fail_unless_last("r.a.0.1", true, answer(502));
    world.fail_unless_last("r.a.0.2", true, answer(503));
    assert_eq!(world.output("a"), answer(503));
    world.succeed("b", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.count(EventKind::NodeRetrying, "a"), 1);
    assert_eq!(world.count(EventKind::NodeFailed, "a"), 0);

    // What no other attempt can help is not tried again.
    let mut world = World::new(&one(&job("a")));
    world.fail_unless_last("r.a.0.1", false, answer(404));
    world.is(RunStatus::Completed);

    // Nor what there is no time for.
    let fields = json!({"deadline_ms": 500, "retry": {"backoff_ms": 3000}});
    let mut world = World::new(&one(&job_with("a", &fields)));
    world.fail_unless_last("r.a.0.1", true, answer(503));
    world.is(RunStatus::Completed);

    let each = json!({"id": "each", "type": "for_each", "config": {"items": [1, 2],
        "node": {"type": "http", "config": {"url": "http://h/"}, "retry": {"max_attempts": 2}}}});
    let mut world = World::new(&one(&each));
    world.fail_unless_last("r.each.0.1", true, answer(502));
    world.fail_unless_last("r.each.0.2", true, answer(503));
    world.fail_unless_last("r.each.1.1", false, answer(404));
    world.is(RunStatus::Completed);
    assert_eq!(world.output("each"), json!([answer(503), answer(404)]));

    // What undoes a node does so only by succeeding.
    let undo = json!({"compensate": {"type": "http", "config": {"url": "http://h/"}}});
    let document = graph(&[job_with("a", &undo), json!("b")], &[json!("a>b")]);
    let mut world = World::new(&document);
    world.succeed("a", json!(1));
    world.fail("b", false);
    world.fail_unless_last("r.a.0.c1", false, answer(404));
    world.is(RunStatus::Failed);
    let mut undone = world
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Compensating);
    assert_eq!(undone.next_back().unwrap().data["status"], "failed");
}

#[test]
fn what_comes_late_or_twice_is_ignored() {
    let mut world = World::new(&graph(&[json!("a"), json!("b")], &[json!("a>b")]));
    world.fail("a", true);
    let before = world.run.clone();
    for key in [
        "r.a.0.1",
        "r.a.1.1",
        "r.zz.0.1",
        "x.a.0.2",
        "r.a",
        "r",
        "",
        "r.a.0.2.9",
    ] {
        world.step(Input::Succeeded {
            key: key.to_owned(),
            output: Output::inline(json!(1)),
            metrics: None,
            patch: None,
        });
    }
    assert_eq!(before, world.run);
    world.succeed("a", json!(1));
    let before = world.run.clone();
    world.step(Input::Succeeded {
        key: "r.a.0.2".to_owned(),
        output: Output::inline(json!(2)),
        metrics: None,
        patch: None,
    });
    assert_eq!(before, world.run);
}

#[test]
fn a_deadline_holds_for_all_attempts() {
    let fields = json!({"deadline_ms": 5000, "retry": {"backoff_ms": 3000}});
    let mut world = World::new(&one(&job_with("a", &fields)));
    assert_eq!(world.jobs["r.a.0.1"].deadline, Some(1_005_000));
    world.fail("a", true);
    world.due("r.a.0.deadline");
    world.is(RunStatus::Failed);
    assert!(world.error("a").contains("5000 ms"), "{}", world.error("a"));

    // The next attempt would begin too late.
    let fields = json!({"deadline_ms": 500, "retry": {"backoff_ms": 3000}});
    let mut world = World::new(&one(&job_with("a", &fields)));
    world.fail("a", true);
    world.is(RunStatus::Failed);
}

#[test]
fn a_function_that_nobody_serves_is_skipped_and_the_run_goes_on() {
    let mut world = World::new(&graph(
        &[
            json!({"id": "f", "type": "function", "config": {"function_name": "x"}}),
            json!("b"),
        ],
        &[json!("f>b")],
    ));
    world.succeed(
        "f",
        json!({"status": "skipped", "warning": "nobody", "node_id": "f"}),
    );
    assert_eq!(world.status("f"), NodeStatus::Skipped);
    world.succeed("b", json!(1));
    world.is(RunStatus::Completed);
}

#[test]
fn people_are_asked_and_their_answer_is_the_output() {
    let hitl = json!({"id": "h", "type": "hitl", "config": {
        "message": "Deploy ${nodes.a.v}?", "approvers": ["x", "y"], "quorum": 2, "timeout_ms": 60000,
        "form": {"type": "object", "required": ["n"]},
    }});
    let document = graph(
        &[json!("a"), hitl, json!("yes"), json!("no")],
        &[
            json!("a>h"),
            json!({"from": "h", "to": "yes", "condition": "$.approved == true"}),
            json!("h>no"),
        ],
    );
    for approved in [true, false] {
        let mut world = World::new(&document);
        world.succeed("a", json!({"v": "1.2"}));
        world.is(RunStatus::WaitingForApproval);
        assert_eq!(world.status("h"), NodeStatus::WaitingForApproval);
        let asked = world.approvals["r.h.0"].clone();
        assert_eq!(asked.message, "Deploy 1.2?");
        assert_eq!(asked.options["quorum"], 2);
        assert_eq!(asked.options["on_timeout"], "reject");
        assert_eq!(asked.context, json!({"v": "1.2"}));
        assert_eq!(asked.due_at, Some(world.now + 60_000));
        world.decide("r.h.0", approved, "x");
        let output = world.output("h");
        assert_eq!(output["approved"], approved);
        assert_eq!(output["status"], "completed");
        assert_eq!(output["node_id"], "h");
        assert_eq!(output["approval_data"]["data"]["n"], 1);
        assert_eq!(output["timestamp"], world.now / 1000);
        world.succeed(if approved { "yes" } else { "no" }, json!(1));
        world.is(RunStatus::Completed);
    }
}

#[test]
fn without_a_decision_in_time_the_node_does_what_it_says() {
    for (word, approved) in [
        ("reject", Some(false)),
        ("approve", Some(true)),
        ("fail", None),
    ] {
        let config = json!({"message": "?", "on_timeout": word});
        let mut world = World::new(&one(&json!({"id": "h", "type": "hitl", "config": config})));
        world.decide("r.h.0", word == "fail", "");
        match approved {
            Some(approved) => {
                assert_eq!(world.output("h")["approved"], approved, "{word}");
                world.is(RunStatus::Completed);
            }
            None => {
                world.is(RunStatus::Failed);
                assert!(world.error("h").contains("in time"));
            }
        }
    }
}

#[test]
fn a_timer_waits() {
    let timer = json!({"id": "n", "type": "timer", "config": {"duration_ms": 5000}});
    let mut world = after(json!(1), &timer);
    assert_eq!(world.timers["r.n.0.timer"], world.now + 5000);
    world.is(RunStatus::Running);
    world.due("r.n.0.timer");
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n")["status"], "fired");
    assert_eq!(world.count(EventKind::TimerFired, "n"), 1);

    for (until, due) in [
        (json!("1970-01-01T00:20:00Z"), Some(1_200_000)),
        (json!(1_300_000), Some(1_300_000)),
        (json!("$nodes.a.at"), Some(1_400_000)),
        (json!("1970-01-01T00:00:01Z"), None),
    ] {
        let timer = json!({"id": "n", "type": "timer", "config": {"until": until}});
        let world = after(json!({"at": "1970-01-01T00:23:20Z"}), &timer);
        assert_eq!(world.timers.get("r.n.0.timer").copied(), due);
        world.is(if due.is_some() {
            RunStatus::Running
        } else {
            RunStatus::Completed
        });
    }
}

#[test]
fn a_signal_is_awaited_or_has_come_before() {
    let signal = json!({"id": "n", "type": "signal", "config": {"name": "go", "timeout_ms": 1000}});
    let send = |world: &mut World, name: &str, n: u32| {
        world.step(Input::Signal {
            name: name.to_owned(),
            payload: json!({"n": n}),
        })
    };
    let mut world = after(json!(1), &signal);
    send(&mut world, "other", 1);
    world.is(RunStatus::Running);
    send(&mut world, "go", 2);
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n")["payload"]["n"], 2);

    let mut world = World::new(&graph(&[json!("a"), signal.clone()], &[json!("a>n")]));
    send(&mut world, "go", 3);
    world.succeed("a", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n")["payload"]["n"], 3);

    let mut world = after(json!(1), &signal);
    world.due("r.n.0.timer");
    world.is(RunStatus::Failed);
}

#[test]
fn a_child_run_is_started_and_its_end_is_the_nodes() {
    let child = json!({"id": "n", "type": "sub_workflow", "config": {
        "workflow": {"nodes": [{"id": "x", "type": "noop"}, {"id": "y", "type": "http",
            "config": {"url": "http://h/${nodes.x.v}"}}], "edges": [{"from": "x", "to": "y"}]},
        "inputs": {"v": "$nodes.a.v"},
    }});
    let mut world = after(json!({"v": 4}), &child);
    let request = world.children["r.n.0.1"].clone();
    assert_eq!(request.inputs, json!({"v": 4}));
    // What refers to the child's own nodes is left as it is.
    assert_eq!(request.workflow, child["config"]["workflow"]);
    world.children.remove("r.n.0.1");
    world.step(Input::ChildEnded {
        key: "r.n.0.1".to_owned(),
        result: Ok(Output::inline(json!({"done": true}))),
    });
    world.is(RunStatus::Completed);
    assert_eq!(world.output("n"), json!({"done": true}));

    let mut world = after(json!({"v": 4}), &child);
    world.children.remove("r.n.0.1");
    world.step(Input::ChildEnded {
        key: "r.n.0.1".to_owned(),
        result: Err(Failure {
            message: "the child failed".to_owned(),
            retryable: false,
        }),
    });
    world.is(RunStatus::Failed);
    assert_eq!(world.error("n"), "the child failed");
}

#[test]
fn large_outputs_become_blobs_that_are_handed_on() {
    let text = "x".repeat(MAX_INLINE + 1);
    let node = json!({"id": "n", "type": "noop"});
    let world = after(json!({"text": text}), &node);
    world.is(RunStatus::Completed);
    let views = world.run.nodes();
    assert!(
        views[0]
            .blob
            .as_ref()
            .is_some_and(|blob| blob.starts_with("sha256:"))
    );
    assert_eq!(views[0].blob, views[1].blob);
    let text = "x".repeat(mesh_workflow::MAX_OUTPUT + 1);
    let world = after(json!({"text": text}), &node);
    world.is(RunStatus::Failed);
    assert!(world.error("a").contains("at most"), "{}", world.error("a"));
}

#[test]
fn outputs_nested_too_deep_are_refused() {
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let world = after(deep, &json!({"id": "n", "type": "noop"}));
    world.is(RunStatus::Failed);
    assert!(world.error("a").contains("levels"), "{}", world.error("a"));
}

#[test]
fn a_loop_may_be_a_function_itself() {
    let document = graph(
        &[
            json!({"id": "l", "type": "loop", "config": {
                "function_name": "f", "max_iterations": 5, "loop_back_to": "l",
                "condition": "output.status != 'success'", "break_path": ["good"], "timeout_path": ["bad"],
            }}),
            json!("good"),
            json!("bad"),
        ],
        &[],
    );
    let mut world = World::new(&document);
    world.succeed("l", json!({"status": "error"}));
    world.succeed("l", json!({"status": "success"}));
    world.succeed("good", json!(1));
    world.is(RunStatus::Completed);
    assert_eq!(world.submitted[..2], ["r.l.0.1", "r.l.1.1"]);
}
