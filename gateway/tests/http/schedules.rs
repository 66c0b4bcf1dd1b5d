//! What is submitted by the clock.

use std::time::Duration;

use ::jobs::{MissedPolicy, Schedule, ScheduleEntries, Timer};
use serde_json::{Value, json};

use crate::support::{done, embedded, read};

const OF_FILES: &[&str] = &["file/"];

fn firing(timer: &Timer, key: &str) -> Result<::jobs::NewJob, ::jobs::Error> {
    let job = work::timer_job(timer, key);
    job.map_err(|error| ::jobs::Error::Invalid {
        field: "payload",
        reason: error.to_string(),
    })
}

fn entries() -> Vec<Timer> {
    let call = json!({"service": "agent-echo", "method": "a.B/C", "payload": {}});
    let often = Timer::new("file/often", Schedule::Every(100), "call", call.clone());
    let mut nightly = Timer::new(
        "file/nightly",
        Schedule::Cron("0 3 * * *".to_owned()),
        "pipeline",
        json!({"goal": "g"}),
    );
    (nightly.timezone, nightly.missed) = ("Europe/Berlin".to_owned(), MissedPolicy::All);
    let spent = Timer::new(
        "file/spent",
        Schedule::Cron("0 0 0 1 1 * 2020".to_owned()),
        "call",
        call,
    );
    vec![often, nightly, spent]
}

#[tokio::test]
async fn schedules_tell_when_they_fire_next_and_what_came_of_the_last() {
    let gateway = embedded(&[]).await;
    assert_eq!(gateway.get("/api/v1/schedules").await.json(), json!([]));
    let mut kept = ScheduleEntries::new(OF_FILES);
    kept.replace(entries());
    let reconcile = async |kept: &mut ScheduleEntries| {
        gateway.jobs.reconcile_timers(kept, &firing).await.unwrap()
    };
    reconcile(&mut kept).await;
    let listed = gateway.get("/api/v1/schedules").await;
    assert_eq!(listed.status, 200);
    let listed = listed.json();
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(name).collect();
    assert_eq!(names, ["file/nightly", "file/often", "file/spent"]);
    let (nightly, spent) = (&listed[0], &listed[2]);
    assert_eq!(nightly["timezone"], "Europe/Berlin");
    assert_eq!(
        (&nightly["state"], &nightly["missed"]),
        (&json!("active"), &json!("all"))
    );
    let next = nightly["next_at"].as_str().unwrap();
    assert!(
        next.contains("T01:00:00") || next.contains("T02:00:00"),
        "{next}"
    );
    assert_eq!(nightly["last"], Value::Null);
    assert_eq!(
        (&spent["state"], &spent["next_at"]),
        (&json!("spent"), &Value::Null)
    );

    testkit::wait::until("one fires", Duration::from_secs(20), async || {
        (reconcile(&mut kept).await.made > 0).then_some(())
    })
    .await;
    let last = gateway.get("/api/v1/schedules").await.json()[1]["last"].clone();
    assert_eq!(last["status"], "queued");
    let id = last["job_id"].as_str().unwrap();
    assert_eq!(gateway.get(&format!("/api/v1/jobs/{id}")).await.status, 200);
    gateway.work("default", done(&json!(1))).await;
    let last = gateway.get("/api/v1/schedules").await.json()[1]["last"].clone();
    assert_eq!(last["status"], "succeeded");
}

#[tokio::test]
async fn a_schedule_is_run_now_and_removed_by_its_name() {
    let gateway = embedded(&[]).await;
    let mut kept = ScheduleEntries::new(OF_FILES);
    kept.replace(entries());
    gateway
        .jobs
        .reconcile_timers(&mut kept, &firing)
        .await
        .unwrap();
    let mut runs = Vec::new();
    for path in ["file%2Fnightly", "nightly"] {
        let answer = gateway.request("POST", &format!("/api/v1/schedules/{path}/run"));
        let answer = read(answer).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        runs.push(answer.json()["job_id"].as_str().unwrap().to_owned());
    }
    assert_ne!(runs[0], runs[1], "each is a job of its own");
    let listed = gateway.get("/api/v1/schedules").await.json();
    assert_eq!(listed[0]["last"]["job_id"], runs[1].as_str());
    assert_eq!(listed[0]["state"], "active");

    let removed = read(gateway.request("DELETE", "/api/v1/schedules/nightly")).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    assert_eq!(
        (&removed.json()["state"], &removed.json()["next_at"]),
        (&json!("removed"), &Value::Null)
    );
    // A scheduler that has it leaves it removed.
    gateway
        .jobs
        .reconcile_timers(&mut kept, &firing)
        .await
        .unwrap();
    let listed = gateway.get("/api/v1/schedules").await.json();
    assert_eq!(
        (name(&listed[0]), &listed[0]["state"]),
        ("file/nightly", &json!("removed"))
    );
    for request in [
        ("DELETE", "/api/v1/schedules/none"),
        ("POST", "/api/v1/schedules/none/run"),
    ] {
        let problem = read(gateway.request(request.0, request.1))
            .await
            .problem(404);
        assert!(
            problem["detail"].as_str().unwrap().contains("none"),
            "{problem}"
        );
    }
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap()
}
