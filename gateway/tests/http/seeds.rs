//! The short forms answer in the shapes that older scripts read, on both stores.

use serde_json::json;

use crate::support::{done, embedded, on_redis};

#[tokio::test]
async fn the_lines_of_older_scripts_work_on_redis() {
    lines(on_redis(&[]).await).await;
}

#[tokio::test]
async fn the_lines_of_older_scripts_work_on_the_embedded_store() {
    lines(embedded(&[]).await).await;
}

async fn lines(gateway: crate::support::Gateway) {
    let health = gateway.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["ok"], true);
    assert_eq!(
        (&health.json()["status"], &health.json()["service"]),
        (&json!("ok"), &json!("mesh-gateway"))
    );

    let run = gateway
        .post("/enqueue", json!({"goal": "Research -> code -> review"}))
        .await;
    assert_eq!(run.status, 202, "{}", run.text);
    let run = run.json();
    assert_eq!(run["ok"], true);
    let run_id = run["run_id"].as_str().unwrap();
    assert!(run_id.len() == 12 && run_id.starts_with("run-"), "{run_id}");
    gateway.work("default", done(&json!({"files": 3}))).await;
    let job = gateway
        .get(&format!("/jobs/{}", run["job_id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(
        (&job["status"], &job["result"]["files"]),
        (&json!("finished"), &json!(3))
    );

    let accepted = gateway
        .post("/jobs", json!({"url": "https://example.org/get"}))
        .await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let accepted = accepted.json();
    assert!(accepted["enqueued_at"].as_str().unwrap().ends_with('Z'));
    let id = accepted["job_id"].as_str().unwrap();
    let job = gateway.get(&format!("/jobs/{id}")).await.json();
    for field in [
        "id",
        "status",
        "result",
        "enqueued_at",
        "started_at",
        "ended_at",
        "error",
    ] {
        assert!(job.get(field).is_some(), "{field}: {job}");
    }
    assert_eq!((&job["id"], &job["status"]), (&json!(id), &json!("queued")));
    assert_eq!(job["enqueued_at"], accepted["enqueued_at"]);

    let body = json!({"description": "Plan it and then build it", "priority": 2});
    let task = gateway.post("/tasks", body).await;
    assert_eq!(task.status, 202, "{}", task.text);
    let task = task.json();
    assert_eq!(
        (&task["status"], &task["description"]),
        (&json!("queued"), &json!("Plan it and then build it"))
    );
    let parts: Vec<_> = task["subtasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["description"].clone())
        .collect();
    assert_eq!(parts, ["Plan it", "build it"]);
    let path = format!("/tasks/{}", task["task_id"].as_str().unwrap());
    assert_eq!(
        gateway.get(&path).await.json(),
        task,
        "asking tells the same"
    );
    assert_eq!(
        gateway.get(&format!("/tasks/{id}")).await.problem(404)["status"],
        404
    );
    gateway.running.drain().await;
}

#[tokio::test]
async fn the_tasks_door_has_a_port_of_its_own() {
    let [port] = testkit::ports::free();
    let gateway = embedded(&[("tasks_port", &port.to_string())]).await;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(
        testkit::http_client::get(&url("/health")).await.unwrap().0,
        200
    );
    let (status, text) = testkit::http_client::get(&url("/")).await.unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("http_server_request_duration_seconds"),
        "{text}"
    );
    assert_eq!(
        testkit::http_client::get(&url("/metrics")).await.unwrap().0,
        200
    );
    assert_eq!(
        testkit::http_client::get(&url("/tasks/x")).await.unwrap().0,
        404
    );
    assert_eq!(
        testkit::http_client::get(&url("/api/v1/jobs"))
            .await
            .unwrap()
            .0,
        404
    );
    assert_eq!(gateway.get("/").await.header("location"), "/docs");
    gateway.running.drain().await;
}
