//! Events are followed, and none is missed or told twice.

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::support::{Doors, PATIENCE, USER, asking, has, row, send};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Opens a WebSocket at a path of the gateway.
pub(crate) async fn open(doors: &Doors, path: &str) -> Socket {
    let url = format!("ws://{}{path}", doors.gateway.grpc_addr);
    let request = url.into_client_request().unwrap();
    connect_async(request).await.unwrap().0
}

/// The next text message; `None` when the other side closes.
pub(crate) async fn next(socket: &mut Socket) -> Option<Value> {
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap()? {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Messages until one of this type.
pub(crate) async fn until(socket: &mut Socket, kind: &str) -> Vec<Value> {
    let mut told = Vec::new();
    while let Some(message) = next(socket).await {
        let found = message["type"] == kind;
        told.push(message);
        if found {
            return told;
        }
    }
    panic!("{kind} was not told: {told:?}");
}

fn types(told: &[Value]) -> Vec<&str> {
    told.iter().map(|it| it["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_user_is_told_what_happens_to_their_runs_and_nobody_elses() {
    let doors = Doors::carrying(&[]).await;
    doors.put("main", &asking(&json!({}))).await;
    let mut own = open(&doors, &format!("/ws?username={USER}")).await;
    let mut other = open(&doors, "/ws?username=other&cursor=latest").await;
    let hello = next(&mut other).await.unwrap();
    assert_eq!(hello["type"], "connected");
    has(&hello, "timestamp cursor");

    let run = doors.execute("main", &json!({})).await;
    let told = until(&mut own, "approval_required").await;
    let body = json!({"run_id": run, "node_id": "ask", "approved": true});
    doors.post("/api/approval", &body).await.expect(200);
    let told = [told, until(&mut own, "workflow_completed").await].concat();
    let find = |kind: &str| told.iter().find(|it| it["type"] == kind).unwrap();
    let started = find("workflow_started");
    has(started, "run_id tag nodes entry_nodes timestamp cursor");
    assert_eq!(
        (&started["tag"], &started["nodes"], &started["entry_nodes"]),
        (&json!("main"), &json!(3), &json!(1))
    );
    has(
        find("node_completed"),
        "run_id node_id status counter result_ref timestamp",
    );
    let asked = find("approval_required");
    has(asked, "run_id node_id workflow_tag message timestamp");
    assert_eq!(
        (&asked["workflow_tag"], &asked["message"]),
        (&json!("main"), &json!("ok?"))
    );
    has(find("workflow_completed"), "run_id counter timestamp");
    assert!(
        told.iter()
            .all(|it| it["run_id"] == run.as_str() && it["timestamp"].is_u64())
    );

    // What came first is told again from its cursor, and not to others.
    let cursor = told[0]["cursor"].as_str().unwrap();
    let mut again = open(&doors, &format!("/ws?username={USER}&cursor={cursor}")).await;
    let replayed = until(&mut again, "workflow_completed").await;
    assert_eq!(types(&replayed), types(&told[1..]));
    let mut all = open(&doors, "/ws?username=other&cursor=first").await;
    assert!(
        timeout(std::time::Duration::from_millis(300), next(&mut all))
            .await
            .is_err()
    );
    doors.drain().await;
}

#[tokio::test]
async fn a_run_is_followed_to_its_end_over_both_transports() {
    let doors = Doors::carrying(&[]).await;
    doors.put("main", &row()).await;
    let run = doors.execute("main", &json!({})).await;
    let path = format!("/api/v1/runs/{run}/events");
    let mut socket = open(&doors, &path).await;
    let mut told = Vec::new();
    while let Some(message) = next(&mut socket).await {
        told.push(message);
    }
    assert_eq!(types(&told).first(), Some(&"workflow_started"));
    assert_eq!(types(&told).last(), Some(&"workflow_completed"));
    let completed = told
        .iter()
        .filter(|it| it["type"] == "node_completed")
        .count();
    assert_eq!(completed, 3);

    let streamed = doors.get(&path).await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let data: Vec<Value> = streamed
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(data, told);
    let last = told.last().unwrap()["cursor"].as_str().unwrap();
    assert_eq!(
        doors.get(&format!("{path}?cursor={last}")).await.status,
        204
    );
    let request = doors
        .request("GET", &path)
        .header("last-event-id", told[0]["cursor"].as_str().unwrap());
    let resumed = send(request).await;
    assert!(
        !resumed.text.contains("workflow_started") && resumed.text.contains("workflow_completed")
    );

    let log = doors
        .get(&format!("/api/logs/stream?run_id={run}&filter=all"))
        .await;
    assert!(
        log.text.contains("event: log\n") && log.text.contains("event: done\n"),
        "{}",
        log.text
    );
    let line = log
        .text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    has(
        &serde_json::from_str(line).unwrap(),
        "timestamp level node_id message",
    );
    let of_b = doors
        .get(&format!("/api/logs/stream?run_id={run}&node_id=b"))
        .await;
    assert!(
        of_b.text.contains("\"b\"") && !of_b.text.contains("\"a\""),
        "{}",
        of_b.text
    );
    let errors = doors
        .get(&format!("/api/logs/stream?run_id={run}&filter=errors"))
        .await;
    assert!(!errors.text.contains("event: log\n") && errors.text.contains("event: done\n"));
    doors.drain().await;
}

#[tokio::test]
async fn clients_of_a_gateway_that_is_gone_come_back_by_their_cursors() {
    let mut doors = Doors::carrying(&[("request_rate", "0")]).await;
    doors.put("main", &row()).await;
    let first = format!("/ws?username={USER}&cursor=first");
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push((
            open(&doors, &first).await,
            String::from("first"),
            Vec::<Value>::new(),
        ));
    }
    let mut runs = Vec::new();
    for round in 0..3 {
        for _ in 0..10 {
            runs.push(doors.execute("main", &json!({})).await);
        }
        // Each has heard of another part when its gateway goes.
        for (at, (socket, cursor, told)) in sockets.iter_mut().enumerate() {
            for _ in 0..5 + at * 3 {
                let message = next(socket).await.unwrap();
                message["cursor"].as_str().unwrap().clone_into(cursor);
                told.push(message);
            }
        }
        if round < 2 {
            doors.replace_gateway(&[("request_rate", "0")]).await;
        }
        for (socket, cursor, _) in &mut sockets {
            let path = format!("/ws?username={USER}&cursor={cursor}");
            *socket = open(&doors, &path).await;
        }
    }
    for run in &runs {
        doors.until_status(run, "COMPLETED").await;
    }
    for (socket, _, told) in &mut sockets {
        let ended = |told: &[Value]| {
            types(told)
                .iter()
                .filter(|kind| **kind == "workflow_completed")
                .count()
        };
        while ended(told) < runs.len() {
            told.push(next(socket).await.unwrap());
        }
    }
    let keyed = |told: &[Value]| {
        let mut keys: Vec<String> = told
            .iter()
            .map(|it| {
                format!(
                    "{} {} {} {}",
                    it["run_id"], it["at"], it["type"], it["node_id"]
                )
            })
            .collect();
        keys.sort_unstable();
        keys
    };
    let expected = keyed(&sockets[0].2);
    let completed = expected
        .iter()
        .filter(|key| key.contains("node_completed"))
        .count();
    assert_eq!(
        completed,
        3 * runs.len(),
        "nothing is missed, and nothing is told twice"
    );
    for (_, _, told) in &sockets {
        assert_eq!(keyed(told), expected);
    }
    doors.drain().await;
}
