//! What the gateway says of a queue that answers, but badly.

use std::time::Duration;

use testkit::until;

use crate::support::{Gateway, embedded, on_redis};

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
        assert_eq!(redis.say(trouble), "+OK");
        let problem = until("/health says it", PATIENCE, async || {
            let answer = gateway.get("/health").await;
            (answer.status == 503).then(|| answer.problem(503))
        });
        let detail = problem.await["detail"].to_string();
        assert!(detail.contains(word), "{detail}");
        readiness(&gateway, word, true).await;
        assert_eq!(redis.say(relief), "+OK");
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
    assert_eq!(redis.say("CONFIG SET maxmemory-policy allkeys-lru"), "+OK");
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

#[tokio::test]
async fn the_embedded_queue_is_well_without_warnings() {
    let gateway = embedded(&[]).await;
    let health = gateway.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["ok"], true);
    readiness(&gateway, "queue", false).await;
    gateway.running.drain().await;
}
