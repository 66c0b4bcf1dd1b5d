//! Many calls at once, and gateways that end in the midst of them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mesh_testkit::{HaProxy, Signal, until};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::support::{SOON, World, ask_by, call, http, mcp};

/// Calls at once.
const CALLS: usize = 1_000;
/// For all of them, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Who call without a pause while a gateway ends.
const CALLERS: usize = 16;
/// How long a call whose gateway was killed may go unnoticed.
const NOTICED: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_each_get_their_own_answer() {
    let world = World::start(1, &[]).await;
    let (url, http) = (world.mcp(), http());
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let (url, http) = (url.clone(), http.clone());
        calls.spawn(async move {
            let input = format!("call {number};");
            let params = json!({"name": "echo-agent", "arguments": {"input": input}});
            let (_, answer) = ask_by(&http, &url, "tools/call", params)
                .await
                .expect("an answer");
            let text = answer["result"]["content"][0]["text"].as_str();
            assert!(text.is_some_and(|text| text.contains(&input)), "{answer}");
            number
        });
    }
    let all = tokio::time::timeout(LIMIT, calls.join_all()).await;
    let answered: BTreeSet<_> = all.expect("all are answered").into_iter().collect();
    assert_eq!(answered.len(), CALLS);
}

/// What became of the calls of those who call without a pause.
#[derive(Debug, Default)]
struct Outcomes {
    answered: Vec<String>,
    /// Calls that got no answer, or one that is no result, and how long that took.
    lost: Vec<(String, Duration, String)>,
}

/// Calls by several clients, each on a connection of its own, until it is told to stop.
struct Callers {
    running: JoinSet<Outcomes>,
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Callers {
    fn start(urls: &[String]) -> Self {
        let (stop, begun) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut running = JoinSet::new();
        for caller in 0..CALLERS {
            let url = urls[caller % urls.len()].clone();
            let (stop, begun, http) = (stop.clone(), begun.clone(), http());
            running.spawn(async move {
                let mut outcomes = Outcomes::default();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    begun.fetch_add(1, Ordering::Relaxed);
                    let key = format!("key-{caller}-{number}");
                    let from = Instant::now();
                    match keyed(&http, &url, &key).await {
                        Ok(()) => outcomes.answered.push(key),
                        Err(why) => {
                            outcomes.lost.push((key, from.elapsed(), why));
                            // The others go on; who has lost its gateway does not spin.
                            sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
                outcomes
            });
        }
        Self {
            running,
            stop,
            begun,
        }
    }

    async fn wait_begun(&self, count: usize) {
        until("calls are under way", SOON, async || {
            (self.begun.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    async fn finish(self) -> Outcomes {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcomes::default();
        for one in self.running.join_all().await {
            all.answered.extend(one.answered);
            all.lost.extend(one.lost);
        }
        all
    }
}

/// A call that takes a moment, under a key.
async fn keyed(http: &reqwest::Client, url: &str, key: &str) -> Result<(), String> {
    let params = json!({"name": "echo-agent", "arguments": {"input": key},
        "_meta": {"mesh.v1/idempotencyKey": key}});
    let (status, answer) = ask_by(http, url, "tools/call", params)
        .await
        .ok_or("the connection broke")?;
    let text = answer["result"]["content"][0]["text"].as_str();
    match text.filter(|text| text.contains(key) && answer["result"]["isError"] != true) {
        Some(_) => Ok(()),
        None => Err(format!("{status} {answer}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_end_under_load_loses_no_call() {
    let mut world = World::start(2, &[("DRAIN_DELAY", "3s".to_owned())]).await;
    let haproxy = HaProxy::start(world.consul.dns()).await;
    until("haproxy has both gateways", SOON, async || {
        (haproxy.up_of("gateways").await == 2).then_some(())
    })
    .await;
    let callers = Callers::start(&[format!("http://{}/mcp", haproxy.mcp())]);
    callers.wait_begun(200).await;
    world.gateways[1].signal(Signal::Terminate);
    world.gateways[1].process.wait_exit(SOON).await;
    callers.wait_begun(400).await;
    let outcomes = callers.finish().await;
    assert!(outcomes.lost.is_empty(), "{:?}", outcomes.lost);
    assert!(
        outcomes.answered.len() >= 400,
        "{}",
        outcomes.answered.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_loses_what_is_in_flight_and_a_key_makes_it_once() {
    let mut world = World::start(2, &[("ECHO_DELAY", "100ms".to_owned())]).await;
    let urls: Vec<_> = world.gateways.iter().map(mcp).collect();
    let callers = Callers::start(&urls);
    callers.wait_begun(200).await;
    world.gateways[1].signal(Signal::Kill);
    sleep(NOTICED).await;
    let outcomes = callers.finish().await;
    // Those that were in flight, by the clients of the one that is gone; later ones get no connection.
    let broken: Vec<_> = outcomes.lost.iter().collect();
    let slow: Vec<_> = broken
        .iter()
        .filter(|(_, took, _)| *took > NOTICED)
        .collect();
    assert!(!broken.is_empty() && slow.is_empty(), "{broken:?}");
    let http = http();
    for (key, ..) in &broken {
        keyed(&http, &urls[0], key)
            .await
            .expect("another gateway answers");
        keyed(&http, &urls[0], key).await.expect("and again");
    }
    drop(call(&urls[0], "echo-agent", json!({"input": "still here"})).await);
}
