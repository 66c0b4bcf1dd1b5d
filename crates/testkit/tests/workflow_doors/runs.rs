//! Runs are taken in and found.

use serde_json::{Value, json};

use crate::support::{Doors, has, row, send};

#[tokio::test]
async fn a_run_is_taken_in_and_shown_before_anybody_carries_it_out() {
    let doors = Doors::start(&[]).await;
    doors.put("main", &row()).await;
    let started = doors
        .post(
            "/api/v1/workflows/main/execute",
            &json!({"inputs": {"x": 1}}),
        )
        .await;
    let started = started.expect(201);
    has(&started, "run_id artifact_id status tag");
    assert_eq!(
        (&started["status"], &started["tag"]),
        (&json!("QUEUED"), &json!("main"))
    );
    let id = started["run_id"].as_str().unwrap();

    let run = doors.get(&format!("/api/v1/runs/{id}")).await.expect(200);
    has(
        &run,
        "run_id base_kind base_ref tags_snapshot status submitted_by submitted_at",
    );
    assert_eq!(
        (&run["base_kind"], &run["base_ref"]),
        (&json!("dag_version"), &started["artifact_id"])
    );
    assert_eq!(
        (&run["status"], &run["submitted_by"]),
        (&json!("QUEUED"), &json!("test-user"))
    );
    let artifact = format!("/api/v1/artifacts/{}", run["base_ref"].as_str().unwrap());
    assert_eq!(
        doors.get(&artifact).await.expect(200)["content"],
        row(),
        "as the run has it"
    );

    let details = doors
        .get(&format!("/api/v1/runs/{id}/details"))
        .await
        .expect(200);
    has(
        &details,
        "run base_workflow_ir workflow_ir node_outputs_raw patches node_executions",
    );
    assert_eq!(details["base_workflow_ir"], row());
    assert_eq!(
        details["workflow_ir"]["nodes"]["a"]["dependents"],
        json!(["b"])
    );
    let nodes = details["node_executions"].as_object().unwrap();
    assert_eq!(nodes.len(), 3);
    for (id, node) in nodes {
        has(
            node,
            "node_id status input output started_at completed_at error metrics",
        );
        assert_eq!(
            (&node["node_id"], &node["status"]),
            (&json!(id), &json!("not_executed"))
        );
    }
    let listed = doors
        .get("/api/v1/workflows/main/runs?limit=20")
        .await
        .expect(200);
    assert_eq!(listed["runs"][0]["run_id"], id);
    doors.drain().await;
}

#[tokio::test]
async fn a_workflow_of_the_request_runs_without_a_name() {
    let doors = Doors::start(&[]).await;
    let body = json!({"workflow": row(), "inputs": {}, "labels": {"team": "sales"}});
    let started = doors.post("/api/v1/runs", &body).await.expect(201);
    assert_eq!(
        (&started["tag"], &started["status"]),
        (&json!(null), &json!("QUEUED"))
    );
    let labelled = doors.get("/api/v1/runs?label.team=sales").await.expect(200);
    assert_eq!(labelled["runs"].as_array().unwrap().len(), 1);
    let other = doors.get("/api/v1/runs?label.team=legal").await.expect(200);
    assert_eq!(other["runs"], json!([]));
    doors.put("main", &row()).await;
    let named = doors
        .post("/api/v1/runs", &json!({"workflow": "main"}))
        .await
        .expect(201);
    assert_eq!(named["tag"], "main");
    doors.drain().await;
}

#[tokio::test]
async fn a_key_makes_one_run_and_stands_for_one_request() {
    let doors = Doors::start(&[]).await;
    doors.put("main", &row()).await;
    let send = async |user: &str, key: &str, body: Value| {
        let request = doors.request("POST", "/api/v1/workflows/main/execute");
        let request = request.header("content-type", "application/json");
        let request = request
            .header("x-user-id", user)
            .header("idempotency-key", key);
        send(request.body(body.to_string())).await
    };
    let first = send("test-user", "k", json!({"inputs": {"a": 1}}))
        .await
        .expect(201);
    let again = send("test-user", "k", json!({"inputs": {"a": 1}}))
        .await
        .expect(201);
    assert_eq!(first, again);
    send("test-user", "k", json!({"inputs": {"a": 2}}))
        .await
        .problem(409);
    let other = send("test-user", "l", json!({"inputs": {"a": 1}}))
        .await
        .expect(201);
    assert_ne!(first["run_id"], other["run_id"]);
    let body = json!({"tag_name": "main", "workflow": row()});
    doors
        .send_as("ada", "POST", "/api/v1/workflows", &body)
        .await
        .expect(201);
    let foreign = send("ada", "k", json!({"inputs": {"a": 1}}))
        .await
        .expect(201);
    assert_ne!(
        first["run_id"], foreign["run_id"],
        "keys are each user's own"
    );
    doors.drain().await;
}

#[tokio::test]
async fn runs_are_found_by_what_is_known_of_them() {
    let doors = Doors::start(&[]).await;
    for tag in ["one", "two"] {
        doors.put(tag, &row()).await;
    }
    let mut ids = Vec::new();
    for tag in ["one", "two", "one"] {
        ids.push(doors.execute(tag, &json!({})).await);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let find = async |query: &str| {
        let found = doors
            .get(&format!("/api/v1/runs?{query}"))
            .await
            .expect(200);
        let runs = found["runs"].as_array().unwrap();
        runs.iter()
            .map(|run| run["run_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let [first, second, third] = [0, 1, 2].map(|at: usize| ids[at].as_str());
    assert_eq!(find("").await, [third, second, first]);
    assert_eq!(find("tag=one").await, [third, first]);
    assert_eq!(find("status=queued").await, [third, second, first]);
    assert_eq!(find("status=COMPLETED").await, [""; 0]);
    assert_eq!(find("owner=nobody").await, [""; 0]);
    assert_eq!(find("owner=*").await.len(), 3);
    assert_eq!(find(&format!("q={}", &second[24..])).await, [second]);
    assert_eq!(
        find("since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z").await,
        [""; 0]
    );
    assert_eq!(find("since=2020-01-01T00:00:00Z").await.len(), 3);
    let page = doors.get("/api/v1/runs?limit=2").await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(find(&format!("limit=2&cursor={cursor}")).await, [first]);
    doors.drain().await;
}

#[tokio::test]
async fn too_many_waiting_runs_and_the_predecessors_limits_are_429() {
    let set = [("max_queued_runs", "2"), ("minute_heavy_runs", "1")];
    let doors = Doors::start(&set).await;
    let agent = |id: &str| json!({"id": id, "type": "agent", "config": {"task": "t"}});
    let heavy = json!({"nodes": [agent("a"), agent("b"), agent("c")], "edges": []});
    doors.put("heavy", &heavy).await;
    doors.put("simple", &row()).await;
    let run = async |tag: &str| {
        doors
            .post(&format!("/api/v1/workflows/{tag}/execute"), &json!({}))
            .await
    };
    run("heavy").await.expect(201);
    let refused = run("heavy").await;
    let problem = refused.problem(429);
    assert_eq!(problem["error"], "rate_limit_exceeded");
    has(
        &problem["details"],
        "tier limit window current_count retry_after_seconds",
    );
    assert_eq!(
        (&problem["details"]["tier"], &problem["details"]["limit"]),
        (&json!("heavy"), &json!(1))
    );
    assert!(refused.headers.contains_key("retry-after"));
    run("simple").await.expect(201);
    let full = run("simple").await;
    assert!(
        full.problem(429)["detail"]
            .as_str()
            .unwrap()
            .contains("max_queued_runs")
    );
    assert!(full.headers.contains_key("retry-after"));
    doors.drain().await;

    let doors = Doors::start(&[("minute_requests", "2")]).await;
    for status in [200, 200, 429] {
        assert_eq!(doors.get("/api/v1/workflows").await.status, status);
    }
    let problem = doors.get("/api/v1/workflows").await.problem(429);
    assert_eq!(problem["error"], "global_rate_limit_exceeded");
    assert_eq!(
        doors.get("/api/v1/jobs").await.status,
        200,
        "jobs are not counted"
    );
    doors.drain().await;
}

#[tokio::test]
async fn runs_of_each_size_have_a_limit_of_their_own() {
    let set = [("minute_simple_runs", "2"), ("minute_standard_runs", "1")];
    let doors = Doors::start(&set).await;
    let agent = json!({"id": "x", "type": "agent", "config": {"task": "t"}});
    doors.put("simple", &row()).await;
    doors
        .put("standard", &json!({"nodes": [agent], "edges": []}))
        .await;
    let run = async |tag: &str| {
        let path = format!("/api/v1/workflows/{tag}/execute");
        doors.post(&path, &json!({})).await.status
    };
    for (tag, status) in [
        ("simple", 201),
        ("standard", 201),
        ("simple", 201),
        ("standard", 429),
        ("simple", 429),
    ] {
        assert_eq!(run(tag).await, status, "{tag}");
    }
    doors.drain().await;
}

#[tokio::test]
async fn runs_are_kept_as_long_as_the_key_or_their_workflow_says() {
    let doors = Doors::start(&[("run_retention", "5s")]).await;
    doors.put("main", &row()).await;
    let mut short = row();
    short["metadata"] = json!({"retention": {"age_ms": 7, "count": 3}});
    doors.put("short", &short).await;
    let store = doors.store();
    for (tag, keep_ms) in [("main", 5_000), ("short", 7)] {
        let run = doors.execute(tag, &json!({})).await;
        assert_eq!(store.run(&run).await.unwrap().keep_ms, keep_ms, "{tag}");
    }
    doors.drain().await;
}
