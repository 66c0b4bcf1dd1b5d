//! A gateway is killed under load, again and again: each client of a WebSocket comes back by its
//! cursor, and has heard of everything once.

use std::{collections::BTreeMap, time::Duration};

use mesh_testkit::{Postgres, Program, Redis, ports};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_tungstenite::connect_async;

use crate::{
    events::next,
    support::{PATIENCE, row, send},
};

const USER: &str = "ada";
const CLIENTS: usize = 12;
const RUNS: usize = 300;
const KILLS: usize = 3;

/// Follows the user's runs until so many have ended, by as many connections as it takes.
async fn follow(address: String, ended: usize) -> (BTreeMap<String, usize>, usize) {
    let (mut told, mut cursor, mut connections) = (BTreeMap::new(), "first".to_owned(), 0);
    let mut completed = 0;
    while completed < ended {
        let url = format!("ws://{address}/ws?username={USER}&cursor={cursor}");
        let Ok((mut socket, _)) = connect_async(url).await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        connections += 1;
        while let Some(event) = next(&mut socket).await {
            event["cursor"].as_str().unwrap().clone_into(&mut cursor);
            completed += usize::from(event["type"] == "workflow_completed");
            let key = format!("{} {} {}", event["run_id"], event["type"], event["node_id"]);
            *told.entry(key).or_default() += 1;
            if completed == ended {
                break;
            }
        }
    }
    (told, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_gateway_miss_nothing_and_hear_nothing_twice() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start(&[]));
    let [port] = ports::free();
    let port = port.to_string();
    let env = vec![
        ("DATABASE_URL", postgres.database().await),
        ("REDIS_URL", redis.url()),
        ("DISCOVERY", "memory".to_owned()),
        ("REQUEST_RATE", "0".to_owned()),
        ("DRAIN_DELAY", "0s".to_owned()),
    ];
    let followed = [&env[..], &[("GATEWAY_PORT", port.clone())]].concat();
    let mut killed = Program::start("mesh-gateway", &followed).await;
    let asked = Program::start("mesh-gateway", &env).await;
    let _runner = Program::start("workflow-runner", &env).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("http://{}{path}", asked.grpc));
        let request = request
            .header("x-user-id", USER)
            .header("content-type", "application/json");
        send(request.body(body.to_string())).await.expect(201)
    };
    post(
        "/api/v1/workflows",
        json!({"tag_name": "main", "workflow": row()}),
    )
    .await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(follow(format!("127.0.0.1:{port}"), RUNS));
    }
    for part in 0..=KILLS {
        for _ in 0..RUNS / (KILLS + 1) {
            post("/api/v1/workflows/main/execute", json!({})).await;
        }
        if part < KILLS {
            killed.process.kill();
            killed = Program::start("mesh-gateway", &followed).await;
        }
    }
    let all = timeout(PATIENCE * 3, clients.join_all())
        .await
        .expect("all come to the end");
    let (expected, _) = &all[0];
    assert!(
        expected.values().all(|times| *times == 1),
        "nothing is told twice"
    );
    let of = |kind: &str| expected.keys().filter(|key| key.contains(kind)).count();
    for (kind, count) in [
        ("\"workflow_started\"", RUNS),
        ("\"node_completed\"", 3 * RUNS),
        ("\"workflow_completed\"", RUNS),
    ] {
        assert_eq!(of(kind), count, "{kind}");
    }
    for (told, connections) in &all {
        assert_eq!(told, expected);
        assert!(*connections > KILLS, "{connections} connections");
    }
    killed.assert_healthy();
}
