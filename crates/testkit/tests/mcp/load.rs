//! Many calls at once, and gateways that end in the midst of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mesh_testkit::{Program, Signal, python::Python, tools, until};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    live::register_tool,
    support::{SOON, World, ask_by, before, call, http, mcp, tool_names},
};

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
    // Each on a connection of its own, and all from one address: as many as it may have, and that of the test.
    let connections = [("CLIENT_MAX_CONNECTIONS", (2 * CALLS).to_string())];
    let world = World::start(1, &connections).await;
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
    lost: Vec<Lost>,
}

/// A call that got no answer, or one that is no result.
#[derive(Debug)]
struct Lost {
    key: String,
    noticed: Instant,
    why: String,
}

/// A tool, and its arguments under a key, which its answer names.
type Keyed = (&'static str, fn(&str) -> Value);

const ECHO: Keyed = ("echo-agent", |key| json!({ "input": key }));
/// Tells of each call that it runs.
const COUNTING: Keyed = ("counting-tool__count", |key| json!({ "key": key }));

/// Calls by several clients, each on a connection of its own, until it is told to stop.
struct Callers {
    running: JoinSet<Outcomes>,
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
}

impl Callers {
    fn start(url: &str, tool: Keyed) -> Self {
        let (stop, begun) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let mut running = JoinSet::new();
        for caller in 0..CALLERS {
            let url = url.to_owned();
            let (stop, begun, http) = (stop.clone(), begun.clone(), http());
            running.spawn(async move {
                let mut outcomes = Outcomes::default();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    begun.fetch_add(1, Ordering::Relaxed);
                    let key = format!("key-{caller}-{number}");
                    match keyed(&http, &url, tool, &key).await {
                        Ok(()) => outcomes.answered.push(key),
                        Err(why) => {
                            let noticed = Instant::now();
                            outcomes.lost.push(Lost { key, noticed, why });
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
async fn keyed(
    http: &reqwest::Client,
    url: &str,
    (tool, arguments): Keyed,
    key: &str,
) -> Result<(), String> {
    let params = json!({"name": tool, "arguments": arguments(key),
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
    let (_haproxy, url) = before(&world).await;
    let callers = Callers::start(&url, ECHO);
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

/// A tool that is not idempotent, and its calls by their keys.
struct Counting {
    server: Python,
}

impl Counting {
    async fn start(world: &World) -> Self {
        let script = tools::root().join("crates/testkit/tests/python/counting_tool.py");
        let protos = tools::root().join("proto/proto").display().to_string();
        let server = Python::start(&script, &[&protos]).await;
        let meta =
            json!({"public_id": "counting-tool", "grpc_services": "agentplatform.ToolService"});
        register_tool(&world.consul, "tool-counting", server.port, meta).await;
        world.consul.wait_passing("tool-counting", 1).await;
        Self { server }
    }

    /// How often the call of each key has run.
    fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for line in self.server.process.log().lines() {
            if let Some(key) = line.strip_prefix("ran ") {
                *runs.entry(key.to_owned()).or_default() += 1;
            }
        }
        runs
    }

    /// Waits until a gateway lists it, and knows of who runs jobs: a call of one key runs once.
    async fn wait_served(&self, url: &str) {
        let http = http();
        let mut number = 0;
        until("calls with keys are jobs", SOON, async || {
            let names = tool_names(url).await?;
            names.iter().any(|name| name == COUNTING.0).then_some(())?;
            number += 1;
            let key = format!("probe-{number} of {url}");
            for _ in 0..2 {
                keyed(&http, url, COUNTING, &key).await.ok()?;
            }
            (self.runs().get(&key) == Some(&1)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_loses_what_is_in_flight_and_by_its_key_each_runs_once() {
    let mut world = World::start(2, &[]).await;
    let _runner = Program::start("job-runner", world.env()).await;
    world.consul.wait_passing("job-runner", 1).await;
    let counting = Counting::start(&world).await;
    for gateway in &world.gateways {
        counting.wait_served(&mcp(gateway)).await;
    }
    let (_haproxy, url) = before(&world).await;
    let callers = Callers::start(&url, COUNTING);
    callers.wait_begun(200).await;
    let killed = Instant::now();
    world.gateways[1].signal(Signal::Kill);
    callers.wait_begun(400).await;
    let outcomes = callers.finish().await;
    // What was in flight on it, at most one call of each caller, whose error is seen at once.
    let lost = outcomes.lost;
    let after = |it: &Lost| it.noticed.saturating_duration_since(killed);
    let told: Vec<_> = lost.iter().map(|it| (after(it), &it.why)).collect();
    assert!(
        (1..=CALLERS).contains(&lost.len()) && told.iter().all(|(after, _)| *after <= NOTICED),
        "lost: {told:?}"
    );
    let http = http();
    for call in &lost {
        for _ in 0..2 {
            let again = keyed(&http, &url, COUNTING, &call.key).await;
            again.unwrap_or_else(|why| panic!("{} is lost again: {why}", call.key));
        }
    }
    let runs = counting.runs();
    let keys = outcomes
        .answered
        .iter()
        .chain(lost.iter().map(|it| &it.key));
    let wrong: Vec<_> = keys
        .filter(|key| runs.get(*key) != Some(&1))
        .map(|key| (key, runs.get(key)))
        .collect();
    assert!(wrong.is_empty(), "not once, but so often: {wrong:?}");
    let still = call(&url, "echo-agent", json!({"input": "still here"})).await;
    assert_ne!(still["isError"], true, "{still}");
}
