//! Runs are changed while they run.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Doors, asking, has};

fn adds(id: &str, after: &str) -> Value {
    json!([
        {"op": "add", "path": "/nodes/-", "value": {"id": id, "type": "noop"}},
        {"op": "add", "path": "/edges/-", "value": {"from": after, "to": id}},
    ])
}

#[tokio::test]
async fn a_patch_of_a_waiting_run_counts_and_one_of_what_has_started_does_not() {
    let doors = Doors::carrying(&[]).await;
    doors.put("main", &asking(&json!({}))).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let path = format!("/api/v1/runs/{run}/patches");
    let body = json!({"operations": adds("late", "b"), "description": "one more"});
    let patch = doors.post(&path, &body).await.expect(201);
    has(
        &patch,
        "id run_id artifact_id cas_id seq op_count description created_by",
    );
    assert_eq!((&patch["seq"], &patch["op_count"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&patch["description"], &patch["created_by"]),
        (&json!("one more"), &json!("test-user"))
    );

    let listed = doors.get(&path).await.expect(200);
    has(&listed, "run_id count patches");
    has(
        &listed["patches"][0],
        "id run_id artifact_id cas_id seq op_count node_id created_at depth",
    );
    assert_eq!(listed["patches"][0]["cas_id"], patch["cas_id"]);
    let operations = format!("{path}/{}/operations", patch["cas_id"].as_str().unwrap());
    let operations = doors.get(&operations).await.expect(200);
    assert_eq!(operations["operations"], adds("late", "b"));

    let started =
        json!({"operations": [{"op": "replace", "path": "/nodes/@a/type", "value": "join"}]});
    let refused = doors.post(&path, &started).await.problem(409);
    assert!(
        refused["detail"].as_str().unwrap().contains('a'),
        "{refused}"
    );
    for (operations, status) in [
        (json!([{"op": "remove", "path": "/nodes/99"}]), [400, 422]),
        (
            json!([{"op": "test", "path": "/nodes/0/id", "value": "z"}]),
            [400, 422],
        ),
        (
            json!([{"op": "add", "path": "/nodes/-", "value": {"id": "a", "type": "noop"}}]),
            [400, 422],
        ),
    ] {
        let answer = doors
            .post(&path, &json!({ "operations": operations }))
            .await;
        assert!(status.contains(&answer.status), "{}", answer.text);
        answer.problem(answer.status);
    }
    let short = json!({"operations": adds("later", "late"), "description": "d"});
    let short = doors
        .post(&format!("/api/v1/runs/{run}/patch"), &short)
        .await
        .expect(200);
    has(&short, "run_id patched old_nodes new_nodes description");
    assert_eq!(
        (&short["patched"], &short["old_nodes"], &short["new_nodes"]),
        (&json!(true), &json!(4), &json!(5))
    );

    let body = json!({"run_id": run, "node_id": "ask", "approved": true});
    doors.post("/api/approval", &body).await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    let details = doors.details(&run).await;
    for node in ["late", "later"] {
        assert_eq!(details["node_executions"][node]["status"], "completed");
        assert!(details["workflow_ir"]["nodes"].get(node).is_some());
    }
    assert_eq!(
        details["base_workflow_ir"]["nodes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let patches = details["patches"].as_array().unwrap();
    assert_eq!(patches.len(), 2);
    has(&patches[0], "seq node_id operations description");
    let ended = doors
        .post(&path, &json!({"operations": adds("x", "b")}))
        .await;
    ended.problem(409);
    doors.drain().await;
}

#[tokio::test]
async fn a_run_is_cancelled_retried_and_refuses_what_does_not_fit() {
    let doors = Doors::carrying(&[]).await;
    doors.put("main", &asking(&json!({}))).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let to = async |what: &str| {
        doors
            .post(&format!("/api/v1/runs/{run}/{what}"), &json!({}))
            .await
    };
    to("retry").await.problem(409);
    let cancelled = to("cancel").await.expect(200);
    has(&cancelled, "run_id status message");
    doors.until_status(&run, "CANCELLED").await;
    to("cancel").await.problem(409);
    let approvals = doors
        .get(&format!("/api/v1/approvals?run_id={run}"))
        .await
        .expect(200);
    assert_eq!(approvals["count"], 0, "nobody is asked any more");
    to("retry").await.expect(200);
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let body = json!({"run_id": run, "node_id": "ask", "approved": true});
    doors.post("/api/approval", &body).await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    to("pause").await.problem(409);
    doors.drain().await;
}

#[tokio::test]
async fn a_paused_run_starts_nothing_until_it_is_resumed() {
    let doors = Doors::carrying(&[]).await;
    doors.put("main", &asking(&json!({}))).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let to = async |what: &str| {
        doors
            .post(&format!("/api/v1/runs/{run}/{what}"), &json!({}))
            .await
    };
    to("pause").await.expect(200);
    let body = json!({"run_id": run, "node_id": "ask", "approved": true});
    doors.post("/api/approval", &body).await.expect(200);
    doors.until_node(&run, "ask", "completed").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(
        doors.details(&run).await["node_executions"]["b"]["status"],
        "not_executed"
    );
    to("resume").await.expect(200);
    doors.until_status(&run, "COMPLETED").await;
    doors.drain().await;
}

#[tokio::test]
async fn a_fork_takes_over_what_was_done_before_its_node() {
    let doors = Doors::carrying(&[]).await;
    let workflow = json!({
        "nodes": [{"id": "a", "type": "transform", "config": {"fields": {"x": "inputs.x"}}},
            {"id": "b", "type": "transform", "config": {"fields": {"y": "inputs.x + 1"}}}],
        "edges": [{"from": "a", "to": "b"}],
    });
    doors.put("main", &workflow).await;
    let run = doors.execute("main", &json!({"x": 1})).await;
    doors.until_status(&run, "COMPLETED").await;
    let path = format!("/api/v1/runs/{run}/fork");
    doors
        .post(&path, &json!({"from": "none"}))
        .await
        .problem(400);
    let body = json!({"from": "b", "inputs": {"x": 5}, "operations": adds("c", "b")});
    let forked = doors.post(&path, &body).await.expect(201);
    has(&forked, "run_id artifact_id status tag");
    let forked = forked["run_id"].as_str().unwrap();
    doors.until_status(forked, "COMPLETED").await;
    let details = doors.details(forked).await;
    assert_eq!(
        details["node_outputs_raw"]["a"],
        json!({"x": 1}),
        "as it was"
    );
    assert_eq!(details["node_outputs_raw"]["b"], json!({"y": 6}));
    assert_eq!(details["node_executions"]["c"]["status"], "completed");
    assert_eq!(
        doors.details(&run).await["node_outputs_raw"]["b"],
        json!({"y": 2}),
        "untouched"
    );
    doors.drain().await;
}

#[tokio::test]
async fn a_command_that_nobody_answers_is_504_and_is_carried_out_later() {
    let doors = Doors::start(&[("command_timeout", "1s")]).await;
    let mut doors = doors.with_runners().await;
    doors.put("main", &asking(&json!({}))).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_status(&run, "WAITING_FOR_APPROVAL").await;
    let runner = doors.others.pop().unwrap();
    runner.drain().await;
    let path = format!("/api/v1/runs/{run}/cancel");
    let problem = doors.post(&path, &json!({})).await.problem(504);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("command_timeout")
    );
    doors.beside("workflow-runner", &[]).await;
    doors.until_status(&run, "CANCELLED").await;
    doors.drain().await;
}

#[tokio::test]
async fn runs_that_are_called_off_before_a_runner_comes_never_begin() {
    let mut doors = Doors::start(&[("command_timeout", "10ms")]).await;
    let workflow = json!({"nodes": [{"id": "a", "type": "noop"}], "edges": []});
    doors.put("main", &workflow).await;
    let mut runs = Vec::new();
    for _ in 0..30 {
        let run = doors.execute("main", &json!({})).await;
        let path = format!("/api/v1/runs/{run}/cancel");
        doors.post(&path, &json!({})).await.problem(504);
        runs.push(run);
    }
    doors.beside("workflow-runner", &[]).await;
    for run in &runs {
        doors.until_status(run, "CANCELLED").await;
    }
    // What comes later does not begin them either.
    for run in &runs {
        let path = format!("/api/v1/runs/{run}/signals/go");
        let answer = doors.post(&path, &json!({})).await;
        assert!([409, 504].contains(&answer.status), "{}", answer.text);
    }
    let other = doors.execute("main", &json!({})).await;
    doors.until_status(&other, "COMPLETED").await;
    for run in &runs {
        doors.until_status(run, "CANCELLED").await;
        let details = doors.details(run).await;
        assert_eq!(details["node_outputs_raw"], json!({}), "{run}");
    }
    doors.drain().await;
}

#[tokio::test]
async fn a_patch_of_a_node_counts_once_that_node_has_succeeded() {
    let doors = Doors::carrying(&[]).await;
    let workflow = json!({
        "nodes": [{"id": "wait", "type": "signal", "config": {"name": "go"}}, {"id": "b", "type": "noop"}],
        "edges": [{"from": "wait", "to": "b"}],
    });
    doors.put("main", &workflow).await;
    let run = doors.execute("main", &json!({})).await;
    doors.until_node(&run, "wait", "running").await;
    let path = format!("/api/v1/runs/{run}/patches");
    let body = json!({"node_id": "wait", "operations": adds("promised", "b")});
    let patch = doors.post(&path, &body).await.expect(201);
    assert_eq!(
        (&patch["node_id"], &patch["state"]),
        (&json!("wait"), &json!("pending"))
    );
    let waiting = doors.details(&run).await;
    assert!(waiting["workflow_ir"]["nodes"].get("promised").is_none());
    let nobody = json!({"node_id": "nobody", "operations": adds("x", "b")});
    let refused = doors.post(&path, &nobody).await;
    assert!(
        [400, 409, 422].contains(&refused.status),
        "{}",
        refused.text
    );
    doors
        .post(&format!("/api/v1/runs/{run}/signals/go"), &json!({}))
        .await
        .expect(200);
    doors.until_status(&run, "COMPLETED").await;
    let details = doors.details(&run).await;
    assert_eq!(
        details["node_executions"]["promised"]["status"],
        "completed"
    );
    assert_eq!(details["patches"][0]["node_id"], "wait");
    doors.drain().await;
}
