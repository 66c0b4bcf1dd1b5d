//! A task says what it was and where it stands, from the moment it is handed in to long after its end.

use std::time::Duration;

use ::jobs::JobOutcome;
use serde_json::{Value, json};
use testkit::until;

use crate::support::{Gateway, beside, embedded, on_redis};

const PATIENCE: Duration = Duration::from_secs(30);

async fn submit(gateway: &Gateway) -> Value {
    let body = json!({"description": "Plan it; then build it"});
    let answer = gateway.post("/tasks", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json()
}

/// The task as it stands, which is about what it was submitted as.
async fn look(gateway: &Gateway, task: &Value) -> Value {
    let path = format!("/tasks/{}", task["task_id"].as_str().unwrap());
    let seen = gateway.get(&path).await.json();
    for field in ["task_id", "description", "created_at", "subtasks"] {
        assert_eq!(seen[field], task[field], "{field}: {seen}");
    }
    seen
}

#[tokio::test]
async fn a_task_goes_from_queued_over_running_to_completed_with_a_real_runner() {
    let gateway = on_redis(&[]).await;
    let url = gateway.redis.as_ref().unwrap().url();
    let slow = [("delay", "700ms")];
    let agent = beside(&gateway, &echo_agent::SPEC, echo_agent::build, &slow).await;
    let task = submit(&gateway).await;
    assert_eq!(task["status"], "queued");
    assert_eq!(look(&gateway, &task).await["status"], "queued");
    let set = [
        ("redis_url", url.as_str()),
        ("task_agent", "echo-agent"),
        ("task_look", "200ms"),
    ];
    let runner = beside(&gateway, &job_runner::SPEC, job_runner::build, &set).await;
    let mut stages = vec!["queued".to_owned()];
    let ended = until("the task is completed", PATIENCE, async || {
        let seen = look(&gateway, &task).await;
        let status = seen["status"].as_str().unwrap().to_owned();
        if stages.last() != Some(&status) {
            stages.push(status.clone());
        }
        (status == "completed").then_some(seen)
    })
    .await;
    // While its parts are done its job waits, and it is under way all the same.
    assert_eq!(stages, ["queued", "running", "completed"]);
    let parts = ended["result"]["subtasks"].as_array().unwrap();
    assert_eq!(parts.len(), task["subtasks"].as_array().unwrap().len());
    for part in parts {
        let input = part["description"].as_str().unwrap();
        assert_eq!(part["output"], format!("Echo Agent Response: {input}"));
    }
    for running in [runner, agent, gateway.running] {
        running.drain().await;
    }
}

#[tokio::test]
async fn a_task_that_was_called_off_or_given_up_has_failed_and_still_says_what_it_was() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let task = submit(&gateway).await;
        let path = format!("/api/v1/jobs/{}/cancel", task["task_id"].as_str().unwrap());
        assert_eq!(gateway.post(&path, json!({})).await.status, 200);
        let seen = look(&gateway, &task).await;
        assert_eq!(
            (&seen["status"], &seen["error"]),
            (&json!("failed"), &json!("it was cancelled"))
        );

        let task = submit(&gateway).await;
        let given_up = JobOutcome::Failed {
            error: "nobody can".to_owned(),
            retry: None,
            metrics: None,
        };
        gateway.work("default", given_up).await;
        let seen = look(&gateway, &task).await;
        assert_eq!(
            (&seen["status"], &seen["error"]),
            (&json!("failed"), &json!("nobody can"))
        );
        gateway.running.drain().await;
    }
}
