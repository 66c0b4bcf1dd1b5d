//! What happens to every request.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::Signal;

use crate::support::{call_job, embedded, on_redis, read};

#[tokio::test]
async fn every_failure_is_problem_details_with_the_requests_id() {
    let gateway = embedded(&[("max_body_bytes", "1KiB")]).await;
    let named = gateway
        .request("GET", "/api/v1/jobs/nobody")
        .header("x-request-id", "me-1");
    let answer = read(named).await;
    assert_eq!(answer.header("x-request-id"), "me-1");
    assert_eq!(answer.problem(404)["request_id"], "me-1");
    let strange = gateway
        .request("GET", "/health")
        .header("x-request-id", "two words");
    assert_eq!(
        read(strange).await.header("x-request-id").len(),
        32,
        "one is made"
    );

    gateway.get("/nowhere").await.problem(404);
    gateway.get("/jobs/%ff").await.problem(404);
    let answer = read(gateway.request("DELETE", "/api/v1/jobs")).await;
    answer.problem(405);
    assert!(answer.header("allow").contains("POST"), "{answer:?}");
    gateway.get("/enqueue").await.problem(405);
    let large = json!({"goal": "x".repeat(2_000)});
    gateway.post("/enqueue", large).await.problem(413);
    let form = gateway
        .request("POST", "/enqueue")
        .header("content-type", "text/plain")
        .body("{}");
    read(form).await.problem(415);
    let broken = gateway.request("POST", "/enqueue").body("{\"goal\":");
    read(broken.header("content-type", "application/json"))
        .await
        .problem(422);
    // As `curl -d` sends it without a header of its own, it would be a form.
    let bare = gateway.request("POST", "/enqueue").body("{\"goal\":\"g\"}");
    read(bare).await.problem(415);
    // Nothing is no form of anything.
    read(gateway.request("POST", "/enqueue")).await.problem(422);
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_told_to_wait() {
    let gateway = embedded(&[("request_rate", "0.01"), ("request_burst", "2")]).await;
    assert_eq!(gateway.get("/api/v1/queues").await.status, 200);
    assert_eq!(gateway.get("/api/v1/queues").await.status, 200);
    let answer = gateway.get("/api/v1/queues").await;
    answer.problem(429);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 50);
    assert_eq!(
        gateway.get("/health").await.status,
        200,
        "machines are not limited"
    );
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_redis_that_is_away_is_a_503_at_once_and_forgotten_when_it_is_back() {
    let mut gateway = on_redis(&[]).await;
    assert_eq!(gateway.post("/api/v1/jobs", call_job()).await.status, 202);
    gateway.redis.as_mut().unwrap().kill();
    for (method, path) in [
        ("POST", "/api/v1/jobs"),
        ("GET", "/health"),
        ("GET", "/api/v1/jobs"),
        ("GET", "/api/v1/queues"),
        ("GET", "/jobs/default.0.000000000000000000000000000"),
        ("GET", "/api/v1/events"),
    ] {
        let started = Instant::now();
        let answer = read(gateway.json(method, path, &call_job())).await;
        let problem = answer.problem(503);
        assert!(
            problem["detail"].as_str().unwrap().contains("redis"),
            "{problem}"
        );
        assert_eq!(answer.header("retry-after"), "1");
        assert!(started.elapsed() < Duration::from_secs(5), "{path} waits");
    }
    let batch = gateway
        .post("/api/v1/jobs/batch", json!([call_job()]))
        .await;
    batch.problem(503);
    assert_eq!(
        gateway.get("/readyz").await.status,
        200,
        "there is no better gateway"
    );
    gateway.redis.as_mut().unwrap().restart().await;
    testkit::until("it is well again", Duration::from_secs(10), async || {
        (gateway.get("/health").await.status == 200).then_some(())
    })
    .await;
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_redis_that_says_nothing_is_waited_for_a_bounded_time() {
    let mut gateway = on_redis(&[("store_timeout", "300ms")]).await;
    assert_eq!(gateway.get("/health").await.status, 200);
    gateway.redis.as_mut().unwrap().signal(Signal::Stop);
    let started = Instant::now();
    let problem = gateway.post("/api/v1/jobs", call_job()).await.problem(503);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("store_timeout"),
        "{problem}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
    gateway.redis.as_mut().unwrap().signal(Signal::Continue);
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_trace_goes_on_into_the_job() {
    let gateway = embedded(&[]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = gateway
        .json("POST", "/api/v1/jobs", &call_job())
        .header("traceparent", trace);
    let id = read(request).await.json()["job_id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let record = gateway.jobs.get(&id).await.unwrap();
    assert_eq!(record.header.trace["traceparent"], trace);
    assert_eq!(record.header.caller.as_deref(), Some("127.0.0.1"));
    gateway.running.drain().await;
}

#[tokio::test]
async fn the_api_describes_itself_without_help_from_elsewhere() {
    let gateway = embedded(&[]).await;
    let document = gateway.get("/api/v1/openapi.json").await.json();
    assert!(document["paths"]["/api/v1/jobs"]["post"].is_object());
    let page = gateway.get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(
        !page.text.contains("https://") && !page.text.contains("http://"),
        "it loads nothing from elsewhere"
    );
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    assert!(
        !page.text.contains("<script>"),
        "no script is within the page"
    );
    let scripts: Vec<&str> = page.text.split("<script src=\"").skip(1).collect();
    assert_eq!(scripts.len(), 2);
    for script in scripts {
        let path = script.split('"').next().unwrap();
        let plain = gateway.get(&format!("/{path}")).await;
        assert_eq!(plain.status, 200, "{path}");
        assert!(
            plain.header("content-type").starts_with("text/javascript"),
            "{path}"
        );
        assert!(plain.text.contains("createApiReference"), "{path}");
    }
    let packed = gateway
        .request("GET", "/docs/scalar.js")
        .header("accept-encoding", "br, gzip;q=0.8");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert!(packed.bytes().await.unwrap().len() < 2_000_000);
    let metrics = gateway.get("/metrics").await.text;
    let counted = "http_route=\"/docs\",http_response_status_code=\"200\"";
    assert!(metrics.contains(counted), "{metrics}");
    gateway.running.drain().await;
}

#[tokio::test]
async fn every_example_of_a_job_is_taken_as_it_stands() {
    let gateway = embedded(&[]).await;
    let document = gateway.get("/api/v1/openapi.json").await.json();
    for (path, count) in [("/api/v1/jobs", 4), ("/api/v1/jobs/batch", 1)] {
        let body = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        let mut examples = vec![body["example"].clone()];
        examples.retain(|example| !example.is_null());
        let named = body["examples"]
            .as_object()
            .into_iter()
            .flat_map(|it| it.values());
        examples.extend(named.map(|example| example["value"].clone()));
        assert_eq!(examples.len(), count, "{path}");
        for example in examples {
            let answer = gateway.post(path, example.clone()).await;
            assert_eq!(answer.status, 202, "{example}: {}", answer.text);
            assert!(!answer.text.contains("problem"), "{}", answer.text);
        }
    }
    gateway.running.drain().await;
}
