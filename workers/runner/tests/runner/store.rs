//! What the runner says of a queue that answers, but badly.

use std::time::Duration;

use jobs::{JobStatus, NewJob};
use testkit::until;

use crate::support::{PATIENCE, Stage};

#[tokio::test]
async fn a_runner_is_unready_and_ill_while_the_queue_refuses_writes_and_then_goes_on() {
    let stage = Stage::set("0s").await;
    let runner = stage.runner(&[]).await;
    let status = async |path: &str, expected: u16| {
        let what = format!("{path} is {expected}");
        until(&what, PATIENCE, async || {
            let (status, text) = runner.get(path).await;
            (status == expected).then_some(text)
        })
        .await
    };
    status("/readyz", 200).await;
    status("/health", 200).await;
    assert_eq!(stage.redis.command("REPLICAOF 127.0.0.1 1"), "+OK");
    for path in ["/health", "/readyz"] {
        let text = status(path, 503).await;
        assert!(text.contains("it is a replica"), "{text}");
    }
    assert_eq!(stage.redis.command("REPLICAOF NO ONE"), "+OK");
    for path in ["/health", "/readyz"] {
        status(path, 200).await;
    }
    let id = stage.submit("call", &crate::support::echo("later")).await;
    stage.ended(&id).await;
    // Five loops met it, each five times a second.
    let log = runner.process.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("does not do what it is asked"));
    let count = lines.count();
    assert!((1..=6).contains(&count), "{count} lines");
    assert!(log.contains("works again"));
}

#[tokio::test]
async fn a_task_waits_while_the_queue_is_full_and_uses_up_no_attempts() {
    let stage = Stage::set("0s").await;
    let runner = stage.runner(&[]).await;
    let payload = serde_json::json!({
        "description": "one; two",
        "subtasks": [
            { "subtask_id": "a", "description": "one" },
            { "subtask_id": "b", "description": "two" },
        ],
    });
    let job = work::kind("task").unwrap().read(&payload).unwrap();
    let job = NewJob {
        delay: Duration::from_millis(500),
        max_attempts: 1,
        ..job
    };
    let id = stage.jobs.submit(job).await.unwrap().id;
    assert_eq!(stage.redis.command("CONFIG SET maxmemory 1"), "+OK");
    // It is looked at, and put off, while nobody can take its parts.
    let put_off = |record: &jobs::JobRecord| {
        record.status == JobStatus::Scheduled && record.header.started_at.is_some()
    };
    stage.wait(&id, put_off).await;
    assert_eq!(stage.redis.command("CONFIG SET maxmemory 0"), "+OK");
    let record = stage.ended(&id).await;
    assert_eq!(
        record.status,
        JobStatus::Succeeded,
        "{:?}",
        record.header.error
    );
    drop(runner);
}
