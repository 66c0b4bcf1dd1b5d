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

/// The value of a series in the text of a scrape.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test]
async fn while_redis_is_away_the_metrics_say_so_and_tell_no_old_numbers() {
    let mut gateway = on_redis(&[("queue_sample", "200ms")]).await;
    gateway.post("/api/v1/jobs", call_job()).await;
    let queued = r#"mesh_jobs_queue_length{queue="default",status="queued"}"#;
    let text = until("the queue and the store are seen", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        let both = (value(&text, queued), value(&text, "mesh_store_up"));
        (both == (Some(1.0), Some(1.0))).then_some(text)
    })
    .await;
    assert!(
        value(&text, "mesh_store_memory_bytes") > Some(100_000.0),
        "{text}"
    );
    assert_eq!(
        value(&text, "mesh_store_memory_limit_bytes"),
        None,
        "it has no limit"
    );
    assert!(value(&text, "mesh_store_clients") >= Some(1.0), "{text}");
    assert!(
        value(&text, "mesh_store_clients_limit") > Some(100.0),
        "{text}"
    );
    let submits = r#"mesh_store_command_duration_seconds_count{command="submit"}"#;
    assert_eq!(value(&text, submits), Some(1.0));

    let redis = gateway.redis.as_mut().unwrap();
    assert_eq!(redis.command("CONFIG SET maxmemory 100mb"), "+OK");
    until("the limit is seen", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        let limit = value(&text, "mesh_store_memory_limit_bytes");
        (limit == Some(100.0 * 1024.0 * 1024.0)).then_some(())
    })
    .await;

    gateway.redis.as_mut().unwrap().kill();
    until(
        "nothing is told of the store but that it is away",
        PATIENCE,
        async || {
            let text = gateway.get("/metrics").await.text;
            let gone = [
                "mesh_jobs_queue_length{",
                "mesh_jobs_oldest",
                "mesh_store_memory_bytes ",
            ];
            let gone = gone
                .iter()
                .all(|name| !text.lines().any(|line| line.starts_with(name)));
            (gone && value(&text, "mesh_store_up") == Some(0.0)).then_some(())
        },
    )
    .await;

    gateway.redis.as_mut().unwrap().restart().await;
    until("it is back, and empty", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        (value(&text, "mesh_store_up") == Some(1.0)).then_some(())
    })
    .await;
    gateway.running.drain().await;
}

#[tokio::test]
async fn made_up_names_of_queues_share_one_series() {
    let gateway = on_redis(&[
        ("queue_sample", "100ms"),
        ("metrics_queues", "5"),
        ("max_queues", "60"),
    ])
    .await;
    let mut refused = 0;
    for number in 0..100 {
        let mut job = call_job();
        job["queue"] = json!(format!("made-up-{number}"));
        let answer = gateway.post("/api/v1/jobs", job).await;
        refused += u32::from(answer.status != 202);
    }
    assert!(
        refused >= 40,
        "{refused} of 100 made-up queues were refused"
    );
    let other = r#"mesh_jobs_queue_length{queue="_OTHER",status="queued"}"#;
    let text = until("all are counted", PATIENCE, async || {
        let text = gateway.get("/metrics").await.text;
        let lengths = text.lines().filter(|line| {
            line.starts_with("mesh_jobs_queue_length{") && line.contains("status=\"queued\"")
        });
        let sum: f64 = lengths
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum();
        (sum == f64::from(100 - refused)).then_some(text)
    })
    .await;
    assert_eq!(
        value(&text, other),
        Some(f64::from(100 - refused - 5)),
        "{text}"
    );
    let series = text
        .lines()
        .filter(|line| line.starts_with("mesh_jobs_queue_length{"));
    assert_eq!(
        series.count(),
        6 * 7,
        "five queues and the others, by status"
    );
    gateway.running.drain().await;
}
