//! Following events.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
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

/// Its id, its name and its data.
type Event = (String, String, Value);

/// The server-sent events of a path, as they come.
struct EventStream {
    answer: reqwest::Response,
    text: String,
}

impl EventStream {
    async fn open(gateway: &Gateway, path: &str, cursor: &str) -> Self {
        let request = gateway.request("GET", path).header("last-event-id", cursor);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let text = String::new();
        Self { answer, text }
    }

    /// All events so far, once something holds or the stream ends.
    async fn until(&mut self, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        loop {
            let told = parse(&self.text);
            if enough(&told) {
                return told;
            }
            let chunk = timeout(PATIENCE, self.answer.chunk()).await.unwrap();
            let Some(chunk) = chunk.unwrap() else {
                return told;
            };
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }
}

/// The events in a text.
fn parse(text: &str) -> Vec<Event> {
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

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|(_, name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_jobs_events_are_told_live_to_its_end_and_again_from_any_of_them() {
    for gateway in [embedded(&[]).await, on_redis(&[]).await] {
        let id = submit(&gateway).await;
        let path = format!("/api/v1/jobs/{id}/events");
        let mut stream = EventStream::open(&gateway, &path, "").await;
        stream.until(|told| !told.is_empty()).await;
        gateway.work("default", done(&json!({}))).await;
        let events = stream.until(|_| false).await;
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
        let other = json!({"kind": "http", "queue": "other", "payload": {"url": "http://h/"}});
        let other = gateway.post("/api/v1/jobs", other).await.json();
        let other = other["job_id"].as_str().unwrap();
        let queued = gateway
            .jobs
            .events("other", "", 9, Duration::ZERO)
            .await
            .unwrap();
        let foreign = gateway
            .jobs
            .job_events(&other.parse().unwrap(), "", 9, Duration::ZERO)
            .await;
        let (queued, foreign) = (queued.cursor, foreign.unwrap().cursor);
        let strange = [
            "1-1-1.0",
            "x",
            "-.1",
            "%00",
            "0%3D1-1-1.5",
            "9.9-00000000",
            "%FF",
        ];
        for path in [
            format!("/api/v1/jobs/{id}/events"),
            "/api/v1/events".to_owned(),
        ] {
            for cursor in strange.into_iter().chain([&*queued, &*foreign]) {
                let asked = format!("{path}?cursor={cursor}");
                let answer = gateway.get(&asked);
                let answer = timeout(Duration::from_secs(5), answer).await;
                answer.expect(cursor).problem(422);
            }
            for cursor in [queued.as_bytes(), b"x", "\u{e9}".as_bytes()] {
                let answer = gateway
                    .request("GET", &path)
                    .header("last-event-id", cursor);
                read(answer).await.problem(422);
            }
        }
        gateway.get("/api/v1/jobs?cursor=zz").await.problem(422);
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

/// Server-sent events of a path until something holds.
async fn until(
    gateway: &Gateway,
    path: &str,
    cursor: &str,
    enough: impl Fn(&[Event]) -> bool,
) -> Vec<Event> {
    let mut stream = EventStream::open(gateway, path, cursor).await;
    stream.until(enough).await
}

#[tokio::test]
async fn a_follower_is_told_that_events_are_missing_by_an_event_of_its_own() {
    let set = [("jobs_events", "100"), ("request_rate", "0")];
    for gateway in [embedded(&set).await, on_redis(&set).await] {
        submit(&gateway).await;
        let first = until(&gateway, "/api/v1/events", "", |told| !told.is_empty()).await;
        let (cursor, ..) = first.last().unwrap().clone();
        let batch: Vec<Value> = (0..1_000).map(|_| call_job()).collect();
        // On Redis an entry tells of many jobs; single ones fill it.
        for _ in 0..400 {
            submit(&gateway).await;
        }
        let told = until(&gateway, "/api/v1/events", &cursor, |told| told.len() > 1).await;
        assert_eq!(told[0].1, "missed");
        assert_eq!(told[0].2["queue"], "default");
        assert_eq!(told[0].2["cursor"], told[0].0.as_str());
        assert!(
            told[0].2["detail"]
                .as_str()
                .unwrap()
                .contains("no longer kept")
        );
        assert_eq!(told[1].1, "queued");
        let again = until(&gateway, "/api/v1/events", &told[0].0, |told| {
            !told.is_empty()
        })
        .await;
        assert_eq!(
            again[0], told[1],
            "it goes on behind the gap, which is told once"
        );

        let address = gateway.running.grpc_addr;
        let url = format!("ws://{address}/api/v1/events?cursor={cursor}");
        let (mut socket, _) = connect_async(url.into_client_request().unwrap())
            .await
            .unwrap();
        let said = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
        let said: Value = serde_json::from_str(said.unwrap().to_text().unwrap()).unwrap();
        assert_eq!(said["event"], "missed");
        drop(socket);

        // A job's events are its own, whatever its queue forgot.
        let id = submit(&gateway).await;
        gateway.post("/api/v1/jobs/batch", json!(batch)).await;
        let path = format!("/api/v1/jobs/{id}/events");
        let told = until(&gateway, &path, "", |told| !told.is_empty()).await;
        assert_eq!(names(&told), ["queued"]);
        gateway.running.drain().await;
    }
}

/// Deletes everything in a Redis.
async fn flush(url: &str) {
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"FLUSHALL\r\n").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+OK\r\n");
}

#[tokio::test]
async fn the_follower_of_a_job_that_is_gone_is_told_so_and_then_it_is_404() {
    let mut gateway = on_redis(&[]).await;
    let id = submit(&gateway).await;
    let path = format!("/api/v1/jobs/{id}/events");
    let redis = gateway.redis.take().unwrap();
    let mut stream = EventStream::open(&gateway, &path, "").await;
    stream.until(|told| !told.is_empty()).await;
    flush(&redis.url()).await;
    let gone = |told: &[Event]| told.iter().any(|(_, name, _)| name == "missed");
    let told = stream.until(gone).await;
    assert_eq!(names(&told), ["queued", "missed"]);
    assert_eq!(told[1].2["job_id"], id.as_str());
    for path in [
        path,
        format!("/api/v1/jobs/{id}"),
        format!("/jobs/{id}"),
        format!("/tasks/{id}"),
    ] {
        gateway.get(&path).await.problem(404);
    }
    for action in ["cancel", "retry"] {
        let path = format!("/api/v1/jobs/{id}/{action}");
        gateway.post(&path, json!({})).await.problem(404);
    }
    gateway.running.drain().await;
}

#[tokio::test]
async fn the_follower_of_a_queue_that_is_deleted_is_told_so_and_goes_on() {
    let mut gateway = on_redis(&[]).await;
    submit(&gateway).await;
    let redis = gateway.redis.take().unwrap();
    let mut stream = EventStream::open(&gateway, "/api/v1/events", "").await;
    stream.until(|told| told.len() == 1).await;
    flush(&redis.url()).await;
    stream.until(|told| told.len() == 2).await;
    let id = submit(&gateway).await;
    let told = stream.until(|told| told.len() == 3).await;
    assert_eq!(names(&told), ["queued", "missed", "queued"]);
    assert_eq!(told[2].2["job_id"], id.as_str());
    gateway.running.drain().await;
}

#[tokio::test]
async fn a_quiet_stream_shows_signs_of_life_as_often_as_the_key_says() {
    let gateway = embedded(&[("event_wait", "50ms")]).await;
    let id = submit(&gateway).await;
    let path = format!("/api/v1/jobs/{id}/events");
    let mut answer = gateway.request("GET", &path).send().await.unwrap();
    let signs = async {
        let mut text = String::new();
        // A comment of the stream has no name before its colon.
        while text.lines().filter(|line| line.starts_with(':')).count() < 3 {
            let chunk = answer.chunk().await.unwrap().expect("an open stream");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    // The default is 15 s.
    timeout(PATIENCE, signs).await.expect("signs of life");
    gateway.running.drain().await;
}
