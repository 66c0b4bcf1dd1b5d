//! What Prometheus is told is what happened.

use std::time::Duration;

use serde_json::json;
use testkit::{http_client, until};

use crate::support::{call_job, embedded, on_redis};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn requests_are_counted_by_route_and_status_and_jobs_by_kind() {
    let [port] = testkit::ports::free();
    let gateway = embedded(&[("tasks_port", &port.to_string())]).await;
    let id = gateway.post("/api/v1/jobs", call_job()).await.json()["job_id"].clone();
    let path = format!("/api/v1/jobs/{}", id.as_str().unwrap());
    assert_eq!(gateway.get(&path).await.status, 200);
    assert_eq!(gateway.get("/api/v1/jobs/none").await.status, 404);
    assert_eq!(gateway.get("/nowhere").await.status, 404);
    let mut keyed = call_job();
    keyed["idempotency_key"] = json!("k");
    for _ in 0..2 {
        gateway.post("/api/v1/jobs", keyed.clone()).await;
    }
    gateway
        .post("/api/v1/jobs/batch", json!([call_job(), call_job()]))
        .await;
    let task = json!({"description": "Plan it"});
    assert_eq!(gateway.post("/tasks", task).await.status, 202);
    let (status, metrics) = http_client::get(&format!("http://127.0.0.1:{port}/"))
        .await
        .unwrap();
    assert_eq!(status, 200);
    for (series, count) in [
        (
            r#"request_duration_seconds_count{http_request_method="GET",http_route="/api/v1/jobs/{id}",http_response_status_code="200"}"#,
            1,
        ),
        (
            r#"request_duration_seconds_count{http_request_method="GET",http_route="/api/v1/jobs/{id}",http_response_status_code="404"}"#,
            1,
        ),
        (
            r#"request_duration_seconds_count{http_request_method="GET",http_route="_OTHER",http_response_status_code="404"}"#,
            1,
        ),
        (
            r#"request_duration_seconds_count{http_request_method="POST",http_route="/api/v1/jobs",http_response_status_code="202"}"#,
            3,
        ),
        (r#"mesh_jobs_submitted_total{kind="call",outcome="new"}"#, 4),
        (
            r#"mesh_jobs_submitted_total{kind="call",outcome="existing"}"#,
            1,
        ),
        (r#"mesh_jobs_submitted_total{kind="task",outcome="new"}"#, 1),
    ] {
        let line = format!("{series} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn the_length_of_a_queue_follows_the_store() {
    let gateway = on_redis(&[("queue_sample", "100ms")]).await;
    for _ in 0..3 {
        gateway.post("/api/v1/jobs", call_job()).await;
    }
    let length = |status: &str, count: u8| {
        format!(r#"mesh_jobs_queue_length{{queue="default",status="{status}"}} {count}"#)
    };
    until("three are queued", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        text.contains(&length("queued", 3)).then_some(())
    })
    .await;
    gateway
        .work("default", crate::support::done(&json!(1)))
        .await;
    until("one is done", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        let both = text.contains(&length("queued", 2)) && text.contains(&length("succeeded", 1));
        both.then_some(())
    })
    .await;
    gateway.running.drain().await;
}
