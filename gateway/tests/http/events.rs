//! Following events.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::support::{Gateway, call_job, done, embedded, on_redis, read};

const PATIENCE: Duration = Duration::from_secs(10);

async fn submit(gateway: &Gateway) -> String {
    let answer = gateway.post("/api/v1/jobs", call_job()).await.json();
    answer["job_id"].as_str().unwrap().to_owned()
}

/// (id, event, data) of each event in a text.
fn parse(text: &str) -> Vec<(String, String, Value)> {
    let field = |block: &str, name: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim_start().to_owned())
    };
    let blocks = text.split("\n\n").filter_map(|block| {
        let data = serde_json::from_str(&field(block, "data")?).unwrap();
        Some((field(block, "id")?, field(block, "event")?, data))
    });
    blocks.collect()
}

fn names(events: &[(String, String, Value)]) -> Vec<&str> {
    events.iter().map(|(_, name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_jobs_events_are_told_live_to_its_end_and_again_from_any_of_them() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let id = submit(&gateway).await;
        let path = format!("/api/v1/jobs/{id}/events");
        let follow = gateway.get(&path);
        let work = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            gateway.work("default", done(&json!({}))).await;
        };
        let (answer, ()) = tokio::join!(timeout(PATIENCE, follow), work);
        let answer = answer.unwrap();
        assert_eq!(answer.header("content-type"), "text/event-stream");
        let events = parse(&answer.text);
        let told = names(&events);
        assert_eq!(
            (told[0], *told.last().unwrap()),
            ("queued", "succeeded"),
            "{told:?}"
        );
        assert!(
            events
                .iter()
                .all(|(_, _, data)| data["job_id"] == id.as_str())
        );

        let again = gateway
            .request("GET", &path)
            .header("last-event-id", &events[0].0);
        let again = parse(&read(again).await.text);
        assert_eq!(names(&again), told[1..], "what was told is not told again");
        let (last, ..) = events.last().unwrap();
        let all_told = gateway.get(&format!("{path}?cursor={last}")).await;
        assert_eq!(all_told.status, 204, "an EventSource comes no more");
        gateway.running.drain().await;
    }
}

#[tokio::test]
async fn a_websocket_tells_the_same_and_closes_at_the_end() {
    let gateway = on_redis(&[]).await;
    let id = submit(&gateway).await;
    gateway.work("default", done(&json!({}))).await;
    let address = gateway.running.grpc_addr;
    let url = format!("ws://{address}/api/v1/jobs/{id}/events");
    let (mut socket, _) = connect_async(url.into_client_request().unwrap())
        .await
        .unwrap();
    let mut told = Vec::new();
    let closed = loop {
        match timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
        {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                told.push(event["event"].as_str().unwrap().to_owned());
            }
            Message::Close(frame) => break frame.unwrap(),
            _ => {}
        }
    };
    assert_eq!(
        (told[0].as_str(), told.last().unwrap().as_str()),
        ("queued", "succeeded")
    );
    assert_eq!(u16::from(closed.code), 1000);

    // A queue's never ends by itself; a drain sends its clients elsewhere.
    let url = format!("ws://{address}/api/v1/events?queue=default");
    let (mut socket, _) = connect_async(url.into_client_request().unwrap())
        .await
        .unwrap();
    assert!(
        timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_text()
    );
    let drained = gateway.running.drain();
    let rest = async {
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                return u16::from(frame.unwrap().code);
            }
        }
        0
    };
    let (drained, code) = tokio::join!(timeout(PATIENCE, drained), timeout(PATIENCE, rest));
    assert_eq!((drained.unwrap().cut, code.unwrap()), (0, 1001));
}

#[tokio::test]
async fn what_is_no_place_in_the_events_is_refused() {
    for gateway in [
        embedded(&[("max_event_streams", "1")]).await,
        on_redis(&[("max_event_streams", "1")]).await,
    ] {
        gateway.get("/api/v1/events?cursor=zz").await.problem(422);
        gateway
            .get("/api/v1/jobs/default.0.000000000000000000000000000/events")
            .await
            .problem(404);
        let id = submit(&gateway).await;
        for cursor in ["1-1-1.0", "x", "-.1", "%00", "0%3D1-1-1.5"] {
            let answer =
                gateway.request("GET", &format!("/api/v1/jobs/{id}/events?cursor={cursor}"));
            let status = timeout(Duration::from_secs(5), answer.send())
                .await
                .unwrap()
                .unwrap()
                .status();
            assert!(status.as_u16() < 500, "{cursor}: {status}");
        }
        // One stream is allowed, and the first holds it.
        let mut held = gateway
            .request("GET", "/api/v1/events")
            .send()
            .await
            .unwrap();
        assert!(held.chunk().await.unwrap().is_some());
        gateway.get("/api/v1/events").await.problem(503);
        drop(held);
        gateway.running.drain().await;
    }
}
