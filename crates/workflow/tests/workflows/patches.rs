//! The graph changes while a run of it goes on.

use mesh_workflow::{EventKind, Input, NodeStatus, Output, PatchRequest, Refusal, RunStatus};
use serde_json::{Value, json};

use crate::support::{World, graph};

fn request(operations: Value) -> PatchRequest {
    PatchRequest {
        operations,
        description: "more".to_owned(),
        author: "me".to_owned(),
        node_id: None,
        if_version: None,
    }
}

fn add_node(id: &str, kind: &str) -> Value {
    json!({"op": "add", "path": "/nodes/-", "value": {"id": id, "type": kind, "config": {"task": "t"}}})
}

fn add_edge(from: &str, to: &str) -> Value {
    json!({"op": "add", "path": "/edges/-", "value": {"from": from, "to": to}})
}

fn chain() -> Value {
    graph(
        &[
            json!({"id": "agent", "type": "agent", "config": {"task": "plan"}}),
            json!("b"),
            json!("c"),
        ],
        &[json!("agent>b"), json!("b>c")],
    )
}

fn succeed_with(world: &mut World, node: &str, patch: PatchRequest) {
    let key = world.job(node);
    world.jobs.remove(&key);
    world.step(Input::Succeeded {
        key,
        output: Output::inline(json!({"planned": true})),
        metrics: None,
        patch: Some(patch),
    });
}

#[test]
fn a_node_that_an_agent_adds_runs() {
    let mut world = World::new(&chain());
    let operations = json!([
        add_node("new", "agent"),
        add_edge("agent", "new"),
        add_edge("new", "c")
    ]);
    succeed_with(&mut world, "agent", request(operations));
    world.succeed("b", json!(1));
    assert_eq!(world.status("c"), NodeStatus::NotExecuted);
    world.succeed("new", json!(2));
    world.succeed("c", json!(3));
    world.is(RunStatus::Completed);
    let patches = world.run.patches();
    assert_eq!(patches[0].state, "applied");
    assert_eq!(patches[0].node_id.as_deref(), Some("agent"));
    assert_eq!(world.run.graph_version(), 2);
    assert_eq!(world.run.workflow().nodes_count(), 4);
}

#[test]
fn a_patch_of_a_running_agent_counts_with_its_success_only_and_once() {
    let mut world = World::new(&chain());
    let operations = json!([add_node("new", "noop"), add_edge("agent", "new")]);
    let mut asked = request(operations);
    asked.node_id = Some("agent".to_owned());
    let answer = world
        .step(Input::Patch(asked.clone()))
        .expect("there is an answer");
    assert_eq!(answer["state"], "pending");
    assert_eq!(
        (&answer["old_nodes"], &answer["new_nodes"]),
        (&json!(3), &json!(4))
    );
    // The same again within the attempt is the same patch.
    let again = world
        .step(Input::Patch(asked.clone()))
        .expect("there is an answer");
    assert_eq!(again["seq"], answer["seq"]);
    // The attempt dies; the next one asks again.
    world.fail("agent", true);
    assert_eq!(world.run.patches()[0].state, "refused");
    world.step(Input::Patch(asked));
    assert_eq!(world.run.workflow().nodes_count(), 3);
    world.succeed("agent", json!(1));
    assert_eq!(world.run.workflow().nodes_count(), 4);
    assert_eq!(world.status("new"), NodeStatus::Completed);
    let states: Vec<_> = world
        .run
        .patches()
        .into_iter()
        .map(|patch| patch.state)
        .collect();
    assert_eq!(states, ["refused", "applied"]);
}

#[test]
fn nothing_of_a_node_that_has_started_may_change_nor_an_edge_to_it() {
    for operations in [
        json!([{"op": "replace", "path": "/nodes/@agent/config/task", "value": "other"}]),
        json!([{"op": "remove", "path": "/edges/0"}]),
        json!([add_node("x", "noop"), add_edge("x", "b")]),
        json!([{"op": "replace", "path": "/nodes/@b/id", "value": "b2"}, {"op": "replace", "path": "/edges/0/to", "value": "b2"},
               {"op": "replace", "path": "/edges/1/from", "value": "b2"}]),
    ] {
        let mut world = World::new(&chain());
        world.succeed("agent", json!(1));
        let refused = world.try_step(Input::Patch(request(operations.clone())));
        let Err(Refusal::Conflict(message)) = refused else {
            panic!("{operations} is taken: {refused:?}");
        };
        assert!(
            message.contains("agent") || message.contains('b'),
            "{message}"
        );
        // By its own answer the agent is not told; the patch says so.
        let mut world = World::new(&chain());
        let bad = json!([{"op": "replace", "path": "/nodes/@agent/config/task", "value": "other"}]);
        succeed_with(&mut world, "agent", request(bad));
        assert_eq!(world.status("agent"), NodeStatus::Completed);
        assert_eq!(world.run.patches()[0].state, "refused");
        assert_eq!(world.count(EventKind::PatchRefused, "agent"), 1);
    }
    // What comes later may change.
    let mut world = World::new(&chain());
    world.succeed("agent", json!(1));
    world.step(Input::Patch(request(json!([
        {"op": "remove", "path": "/nodes/@c"}, {"op": "remove", "path": "/edges/1"},
    ]))));
    world.succeed("b", json!(1));
    world.is(RunStatus::Completed);
}

#[test]
fn a_new_edge_from_a_node_that_has_ended_is_decided_at_once() {
    let mut world = World::new(&chain());
    world.succeed("agent", json!({"n": 5}));
    let condition = |n: u32, to: &str| {
        json!({"op": "add", "path": "/edges/-", "value": {
            "from": "agent", "to": to, "condition": format!("output.n > {n}")}})
    };
    let operations = json!([
        add_node("x", "noop"),
        add_node("y", "noop"),
        condition(1, "x"),
        condition(9, "y")
    ]);
    world.step(Input::Patch(request(operations)));
    assert_eq!(world.status("x"), NodeStatus::Completed);
    assert_eq!(world.status("y"), NodeStatus::Skipped);
}

#[test]
fn limits_and_versions_are_kept() {
    let agents = |count: usize, from: usize| {
        let nodes = (from..from + count).map(|at| add_node(&format!("n{at}"), "agent"));
        Value::Array(nodes.collect())
    };
    let mut world = World::new(&chain());
    let is_limit = |refusal: Result<_, Refusal>| match refusal {
        Err(Refusal::Invalid { path, .. }) => assert_eq!(path, "/limits"),
        other => panic!("{other:?}"),
    };
    is_limit(world.try_step(Input::Patch(request(agents(6, 0)))));
    world.step(Input::Patch(request(agents(3, 0))));
    is_limit(world.try_step(Input::Patch(request(agents(3, 10)))));
    world.step(Input::Patch(request(agents(2, 10))));
    let many: Vec<Value> = (0..101)
        .map(|at| add_node(&format!("m{at}"), "noop"))
        .collect();
    is_limit(world.try_step(Input::Patch(request(json!(many)))));
    for number in 0..4 {
        let many: Vec<Value> = (0..100)
            .map(|at| add_node(&format!("k{number}_{at}"), "noop"))
            .collect();
        world.step(Input::Patch(request(json!(many))));
    }
    let many: Vec<Value> = (0..100)
        .map(|at| add_node(&format!("o{at}"), "noop"))
        .collect();
    is_limit(world.try_step(Input::Patch(request(json!(many)))));
    // Too much from an agent fails it.
    let mut world = World::new(&chain());
    succeed_with(&mut world, "agent", request(agents(6, 0)));
    assert_eq!(world.status("agent"), NodeStatus::Failed);

    let mut world = World::new(&chain());
    let mut guarded = request(json!([add_node("x", "noop")]));
    guarded.if_version = Some(1);
    world.step(Input::Patch(guarded.clone()));
    let refused = world.try_step(Input::Patch(guarded));
    assert!(matches!(refused, Err(Refusal::Conflict(message)) if message.contains("version 2")));
}

#[test]
fn a_patch_that_makes_the_workflow_invalid_says_where() {
    let mut world = World::new(&chain());
    for (operations, path, message) in [
        (json!([add_edge("c", "zz")]), "/edges/2/to", "no node `zz`"),
        (json!([add_edge("c", "b")]), "/edges/1", "cycle"),
        (json!([add_node("b", "noop")]), "/nodes/3/id", "twice"),
        (
            json!([{"op": "remove", "path": "/nodes/9"}]),
            "/operations/0/path",
            "nothing at",
        ),
        (
            json!([{"op": "test", "path": "/nodes/0/id", "value": "x"}]),
            "/operations/0/path",
            "`test` failed",
        ),
        (
            json!([{"op": "add", "path": "nodes", "value": 1}]),
            "/operations/0/path",
            "no JSON pointer",
        ),
        (json!({"op": "add"}), "/operations", "list"),
    ] {
        match world.try_step(Input::Patch(request(operations.clone()))) {
            Err(Refusal::Invalid {
                path: at,
                message: text,
            }) => {
                assert_eq!(at, path, "{operations}: {text}");
                assert!(text.contains(message), "{text}");
            }
            other => panic!("{operations}: {other:?}"),
        }
    }
    let refused = world.try_step(Input::Patch(request(json!([
        {"op": "add", "path": "/patches", "value": "allow"}, {"op": "add", "path": "/deadline_ms", "value": 5},
    ]))));
    assert!(matches!(refused, Err(Refusal::Conflict(_))), "{refused:?}");
}

fn with_policy(policy: &str) -> World {
    let mut document = chain();
    document["metadata"] = json!({"patches": policy});
    World::new(&document)
}

#[test]
fn a_workflow_may_deny_patches_or_ask_a_person() {
    let operations = json!([add_node("new", "noop"), add_edge("agent", "new")]);
    let mut world = with_policy("deny");
    let refused = world.try_step(Input::Patch(request(operations.clone())));
    assert!(matches!(refused, Err(Refusal::Conflict(_))));
    succeed_with(&mut world, "agent", request(operations.clone()));
    assert_eq!(world.run.patches()[0].state, "refused");
    assert_eq!(world.status("b"), NodeStatus::Running);

    for approved in [true, false] {
        let mut world = with_policy("approve");
        succeed_with(&mut world, "agent", request(operations.clone()));
        // The node waits for the decision, and what is after it for the node.
        assert_eq!(world.status("agent"), NodeStatus::WaitingForApproval);
        world.is(RunStatus::WaitingForApproval);
        assert_eq!(
            world.approvals["r.@patch.1"].context["operations"],
            operations
        );
        if approved {
            world.decide("r.@patch.1", true, "boss");
        } else {
            world.approvals.clear();
            world.step(Input::PatchDecided {
                seq: 1,
                approved,
                by: "boss".to_owned(),
            });
        }
        assert_eq!(
            world.run.workflow().nodes_count(),
            if approved { 4 } else { 3 }
        );
        world.succeed("b", json!(1));
        world.succeed("c", json!(1));
        world.is(RunStatus::Completed);
        let late = world.try_step(Input::PatchDecided {
            seq: 1,
            approved: true,
            by: "x".to_owned(),
        });
        assert!(matches!(late, Err(Refusal::Conflict(_))));
    }

    // One that no node asked for holds the end up until it is decided.
    let mut world = with_policy("approve");
    let answer = world.step(Input::Patch(request(json!([add_node("x", "noop")]))));
    assert_eq!(
        answer.map(|answer| answer["state"].clone()),
        Some(json!("proposed"))
    );
    for node in ["agent", "b", "c"] {
        world.succeed(node, json!(1));
    }
    world.is(RunStatus::WaitingForApproval);
    world.decide("r.@patch.1", true, "boss");
    assert_eq!(world.status("x"), NodeStatus::Completed);
    world.is(RunStatus::Completed);
}

#[test]
fn a_patch_is_asked_of_whom_the_workflow_says_and_has_a_time_limit() {
    let operations = json!([add_node("new", "noop"), add_edge("agent", "new")]);
    let mut world = with_policy("approve");
    succeed_with(&mut world, "agent", request(operations.clone()));
    let asked = &world.approvals["r.@patch.1"];
    assert_eq!(asked.due_at, Some(world.now + 86_400_000));
    assert_eq!(
        (&asked.options["approvers"], &asked.options["on_timeout"]),
        (&json!([]), &json!("reject"))
    );

    let asks = json!({"approvers": ["ann", "bob"], "quorum": 2, "timeout_ms": 5_000,
        "notify_url": "https://told.example/", "self_approval": false});
    let mut document = chain();
    document["metadata"] = json!({"patches": "approve", "patch_approval": asks});
    let mut world = World::new(&document);
    succeed_with(&mut world, "agent", request(operations.clone()));
    let asked = &world.approvals["r.@patch.1"];
    assert_eq!(asked.due_at, Some(world.now + 5_000));
    for name in ["approvers", "quorum", "notify_url", "self_approval"] {
        assert_eq!(asked.options[name], asks[name], "{name}");
    }
    // Nobody decided in time.
    world.decide("r.@patch.1", false, "");
    assert_eq!(world.run.patches()[0].state, "refused");
    let reason = world.run.patches()[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("nobody decided in time"));
    world.succeed("b", json!(1));
    world.succeed("c", json!(1));
    world.is(RunStatus::Completed);

    // A patch does not choose who decides on the next one.
    let change = json!([{"op": "replace", "path": "/metadata/patch_approval/approvers", "value": ["eve", "eva"]}]);
    let mut world = World::new(&document);
    let refused = world.try_step(Input::Patch(request(change)));
    assert!(matches!(refused, Err(Refusal::Conflict(_))), "{refused:?}");
}

#[test]
fn a_node_whose_patch_moves_it_completes_nevertheless() {
    // The new node comes before all others in the document.
    let operations = json!([
        {"op": "add", "path": "/nodes/0", "value": {"id": "new", "type": "noop"}},
        add_edge("agent", "new"),
    ]);
    for policy in ["allow", "approve"] {
        let mut world = with_policy(policy);
        succeed_with(&mut world, "agent", request(operations.clone()));
        if policy == "approve" {
            world.decide("r.@patch.1", true, "boss");
        }
        assert_eq!(world.status("agent"), NodeStatus::Completed);
        assert_eq!(world.status("new"), NodeStatus::Completed);
        world.succeed("b", json!(1));
        world.succeed("c", json!(1));
        world.is(RunStatus::Completed);
    }
}

#[test]
fn a_proposal_of_a_run_that_is_cancelled_is_closed() {
    let mut world = with_policy("approve");
    succeed_with(
        &mut world,
        "agent",
        request(json!([add_node("new", "noop")])),
    );
    world.step(Input::Cancel {
        by: "me".to_owned(),
        reason: String::new(),
    });
    world.is(RunStatus::Cancelled);
    assert_eq!(world.run.patches()[0].state, "refused");
}
