//! The store of workflows is away for a while.

use std::time::{Duration, Instant};

use mesh_testkit::until;
use serde_json::json;

use crate::{
    events,
    support::{Doors, PATIENCE, USER, row, send},
};

#[tokio::test]
async fn without_its_store_a_door_says_so_at_once_and_goes_on_by_itself() {
    let doors = Doors::on_postgres(&[("database_timeout", "1s")]).await;
    let mut doors = doors.with_runners().await;
    doors.put("main", &row()).await;
    let mut socket = events::open(&doors, &format!("/ws?username={USER}")).await;
    doors.postgres().kill();
    for (method, path) in [
        ("GET", "/api/v1/workflows"),
        ("POST", "/api/v1/workflows/main/execute"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/approvals"),
    ] {
        let begun = Instant::now();
        let answer = match method {
            "GET" => doors.get(path).await,
            method => doors.send(method, path, &json!({})).await,
        };
        answer.problem(503);
        assert!(answer.headers.contains_key("retry-after"));
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            begun.elapsed()
        );
    }
    let ready = send(doors.request("GET", "/readyz")).await;
    assert!(ready.text.contains("runs"), "{}", ready.text);
    assert_eq!(doors.get("/api/v1/jobs").await.status, 200, "jobs go on");
    doors.postgres().restart().await;
    until("the doors are open again", PATIENCE, async || {
        (doors.get("/api/v1/workflows").await.status == 200).then_some(())
    })
    .await;
    until("nobody speaks of it any more", PATIENCE, async || {
        let ready = send(doors.request("GET", "/readyz")).await;
        (!ready.text.contains("runs")).then_some(())
    })
    .await;
    let run = doors.execute("main", &json!({})).await;
    let told = events::until(&mut socket, "workflow_completed").await;
    assert!(
        told.iter().all(|it| it["run_id"] == run.as_str()),
        "the same socket goes on"
    );
    doors.drain().await;
}
