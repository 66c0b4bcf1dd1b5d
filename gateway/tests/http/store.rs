//! What the gateway says of a queue that answers, but badly.

use std::{sync::Arc, time::Duration};

use ::jobs::{Failure, Job, JobContext, JobHandler, Payload, Worker};
use serde_json::{Value, json};
use testkit::until;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Gateway, call_job, embedded, on_redis};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `/readyz`, which stays 200, says something or says it no more.
async fn readiness(gateway: &Gateway, word: &str, says: bool) {
    let what = format!("/readyz says {word:?}: {says}");
    until(&what, PATIENCE, async || {
        let answer = gateway.get("/readyz").await;
        assert_eq!(answer.status, 200, "calls work without the queue");
        (answer.text.contains(word) == says).then_some(())
    })
    .await;
}

#[tokio::test]
async fn health_is_503_with_what_to_do_while_the_queue_refuses_writes() {
    let gateway = on_redis(&[]).await;
    assert_eq!(gateway.get("/health").await.status, 200);
    let redis = gateway.redis.as_ref().unwrap();
    for (trouble, relief, word) in [
        (
            "REPLICAOF 127.0.0.1 1",
            "REPLICAOF NO ONE",
            "it is a replica",
        ),
        (
            "CONFIG SET maxmemory 1",
            "CONFIG SET maxmemory 0",
            "raise its maxmemory",
        ),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "min-replicas-to-write",
        ),
    ] {
        assert_eq!(redis.command(trouble), "+OK");
        let problem = until("/health says it", PATIENCE, async || {
            let answer = gateway.get("/health").await;
            (answer.status == 503).then(|| answer.problem(503))
        });
        let detail = problem.await["detail"].to_string();
        assert!(detail.contains(word), "{detail}");
        readiness(&gateway, word, true).await;
        assert_eq!(redis.command(relief), "+OK");
        until("it is well again", PATIENCE, async || {
            (gateway.get("/health").await.status == 200).then_some(())
        })
        .await;
        readiness(&gateway, word, false).await;
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn health_warns_of_a_redis_that_may_evict_and_stays_200() {
    let gateway = on_redis(&[]).await;
    assert!(
        gateway
            .get("/health")
            .await
            .json()
            .get("warnings")
            .is_none()
    );
    let redis = gateway.redis.as_ref().unwrap();
    assert_eq!(
        redis.command("CONFIG SET maxmemory-policy allkeys-lru"),
        "+OK"
    );
    let warnings = until("/health warns", PATIENCE, async || {
        let answer = gateway.get("/health").await;
        assert_eq!(answer.status, 200);
        answer.json().get("warnings").cloned()
    })
    .await;
    assert!(
        warnings[0].as_str().unwrap().contains("noeviction"),
        "{warnings}"
    );
    readiness(&gateway, "noeviction", true).await;
    gateway.running.drain().await;
}

struct Idle;

#[async_trait::async_trait]
impl JobHandler for Idle {
    async fn run(&self, _: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        Ok(None)
    }
}

#[tokio::test]
async fn a_job_in_a_queue_that_no_runner_serves_is_told_so() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let mut workers = JoinSet::new();
        let mut work = |queue: &str| {
            let worker = Worker::new(gateway.jobs.clone(), queue, "w", 1, Arc::new(Idle));
            let run = async move { worker.run(CancellationToken::new(), Duration::ZERO).await };
            workers.spawn(run);
        };
        let first = gateway.post("/api/v1/jobs", call_job()).await.json();
        assert_eq!(first.get("warning"), None, "a runner may just be starting");
        work("busy");
        let path = format!("/api/v1/jobs/{}", first["job_id"].as_str().unwrap());
        let warning = until("it is known", PATIENCE, async || {
            gateway.get(&path).await.json().get("warning").cloned()
        });
        let text = "no runner serves the queue \"default\": start a job-runner with QUEUES=default";
        assert_eq!(warning.await, text);
        let mut slow = call_job();
        slow["queue"] = "slow".into();
        for (path, body, queue) in [
            ("/api/v1/jobs", call_job(), "default"),
            ("/jobs", json!({"url": "http://a"}), "default"),
            ("/enqueue", json!({"goal": "g"}), "default"),
            ("/api/v1/jobs", slow, "slow"),
        ] {
            let accepted = gateway.post(path, body).await;
            assert_eq!(accepted.status, 202, "{}", accepted.text);
            let warning = accepted.json()["warning"].to_string();
            assert!(
                warning.contains(&format!("QUEUES={queue}")),
                "{path}: {warning}"
            );
        }
        let mut later = call_job();
        later["delay_ms"] = 60_000.into();
        let later = gateway.post("/api/v1/jobs", later).await.json();
        assert_eq!(
            later.get("warning"),
            None,
            "it does not wait for a runner yet"
        );
        work("default");
        until("it counts at once", PATIENCE, async || {
            let accepted = gateway.post("/api/v1/jobs", call_job()).await.json();
            accepted.get("warning").is_none().then_some(())
        })
        .await;
        let queues = gateway.get("/api/v1/queues").await.json();
        let asked = |it: &&Value| it["queue"] != "busy";
        let served = queues.as_array().unwrap().iter().filter(asked);
        let served: Vec<_> = served.map(|it| (&it["queue"], &it["served"])).collect();
        let wanted = [
            (&json!("default"), &json!(true)),
            (&json!("slow"), &json!(false)),
        ];
        assert_eq!(served, wanted);
        gateway.running.drain().await;
    }
}

#[tokio::test]
async fn the_embedded_queue_is_well_without_warnings() {
    let gateway = embedded(&[]).await;
    let health = gateway.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["ok"], true);
    readiness(&gateway, "queue", false).await;
    gateway.running.drain().await;
}
