//! Runners that end in the middle of a job.

use jobs::JobStatus;
use testkit::Signal;

use crate::support::{PATIENCE, Stage, echo, result};

#[tokio::test]
async fn a_job_whose_runner_is_killed_is_finished_by_another() {
    let stage = Stage::set("1s").await;
    let mut first = stage.runner(&[]).await;
    let id = stage.submit("call", &echo("again")).await;
    let running = stage
        .wait(&id, |record| record.status == JobStatus::Running)
        .await;
    first.process.kill();
    let _second = stage.runner(&[]).await;
    let record = stage.ended(&id).await;
    assert_eq!(result(&record)["output"], "Echo Agent Response: again");
    // The killed attempt counts: it may have been what killed the runner.
    assert_eq!((running.header.attempt, record.header.attempt), (1, 2));
}

#[tokio::test]
async fn a_runner_asked_to_leave_hands_back_what_it_cannot_finish() {
    let stage = Stage::set("3s").await;
    let mut first = stage.runner(&[("DRAIN_TIMEOUT", "300ms")]).await;
    let id = stage.submit("call", &echo("later")).await;
    stage
        .wait(&id, |record| record.status == JobStatus::Running)
        .await;
    first.process.signal(Signal::Terminate);
    let back = stage
        .wait(&id, |record| record.status == JobStatus::Queued)
        .await;
    // It was no fault of the job's.
    assert_eq!(back.header.attempt, 0);
    assert!(first.process.wait_exit(PATIENCE).await.success());
    let _second = stage.runner(&[]).await;
    let record = stage.ended(&id).await;
    assert_eq!(
        (record.status, record.header.attempt),
        (JobStatus::Succeeded, 1)
    );
}

#[tokio::test]
async fn a_runner_asked_to_leave_finishes_what_it_can() {
    let stage = Stage::set("1s").await;
    let mut runner = stage.runner(&[]).await;
    let id = stage.submit("call", &echo("soon")).await;
    stage
        .wait(&id, |record| record.status == JobStatus::Running)
        .await;
    runner.process.signal(Signal::Terminate);
    assert!(runner.process.wait_exit(PATIENCE).await.success());
    let record = stage.jobs.get(&id).await.unwrap();
    assert_eq!(
        (record.status, record.header.attempt),
        (JobStatus::Succeeded, 1)
    );
}
