//! A worker's gRPC service, and how far its tasks are.

use std::time::Duration;

use mesh_agentkit::serve_worker;
use proto::agentplatform::{TaskStatusRequest, TaskStatusResponse};
use testkit::{
    clients::{self, task},
    until,
};

use crate::probes::{ABOUT, Probe, WORKER, reason};

async fn worker(probe: &Probe) -> clients::Worker {
    let probe = probe.clone();
    clients::Worker::start(&WORKER, |c| Ok(serve_worker(c, ABOUT, probe)), &[]).await
}

async fn status(worker: &clients::Worker, id: &str) -> TaskStatusResponse {
    let request = TaskStatusRequest {
        task_id: id.to_owned(),
    };
    let status = worker.client.clone().get_task_status(request).await;
    status.unwrap().into_inner()
}

#[tokio::test]
async fn a_task_is_answered_and_its_output_can_be_asked_for() {
    let worker = worker(&Probe::default()).await;
    assert_eq!(status(&worker, "t1").await.status, "unknown");
    let answer = worker.process("greet").await;
    assert!(answer.success, "{}", answer.error);
    assert_eq!((&*answer.task_id, &*answer.session_id), ("t1", "s1"));
    assert_eq!(answer.metadata["worker_id"], worker.running.instance_id);
    assert_eq!(answer.metadata["mode"], "probe");
    let seen = status(&worker, "t1").await;
    assert_eq!(
        (&*seen.status, &*seen.progress, &*seen.result),
        ("completed", "100%", "greet for s1")
    );
    worker.running.drain().await;
}

#[tokio::test]
async fn a_task_is_seen_at_work_and_fails_when_its_caller_leaves() {
    let probe = Probe::default();
    let worker = worker(&probe).await;
    let mut client = worker.client.clone();
    tokio::select! {
        answer = client.process_task(task("hang", &[])) => panic!("{answer:?}"),
        seen = async {
            probe.has_begun(1).await;
            status(&worker, "t1").await
        } => assert_eq!((&*seen.status, &*seen.progress), ("processing", "40%")),
    }
    let failed = until("a failed task", Duration::from_secs(10), async || {
        let seen = status(&worker, "t1").await;
        (seen.status == "failed").then_some(seen)
    })
    .await;
    assert_eq!(failed.progress, "40%");
    assert!(failed.result.contains("cancelled"), "{}", failed.result);
    worker.running.drain().await;
}

#[tokio::test]
async fn a_wrong_task_is_answered_and_a_missing_dependency_is_a_status() {
    let worker = worker(&Probe::default()).await;
    let wrong = worker.process(" ").await;
    assert!(!wrong.success && wrong.error.contains("input is empty"));
    assert_eq!(wrong.metadata["worker_id"], worker.running.instance_id);
    assert_eq!(status(&worker, "t1").await.result, wrong.error);

    let mut client = worker.client.clone();
    let away = client.process_task(task("break", &[])).await.unwrap_err();
    assert_eq!(reason(&away).1, "DEPENDENCY_AWAY");
    let seen = status(&worker, "t1").await;
    assert_eq!(
        (&*seen.status, &*seen.result),
        ("failed", "the source is away")
    );
    worker.running.drain().await;
}

#[tokio::test]
async fn it_lists_itself() {
    let worker = worker(&Probe::default()).await;
    let info = worker.info().await;
    assert_eq!(info.worker_id, "probe-worker");
    assert_eq!(info.tags, ["worker", "probe"]);
    assert_eq!(info.parameters.len(), 2);
    worker.running.drain().await;
}
