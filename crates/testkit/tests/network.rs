//! Bad networks between a router and an instance, made by toxiproxy.

use std::{collections::HashSet, time::Duration};

use mesh_testkit::{Consul, Load, Program, Toxiproxy, load, streams, until};
use proto::agentplatform::TaskRequest;
use serde_json::json;
use tokio::time::Instant;
use tonic::Request;

const PROMPT: Duration = Duration::from_secs(10);
const RATE: u32 = 100;
const CALLS: usize = 400;
/// The instance behind toxiproxy, as Consul knows it.
const FAR: &str = "far-away";

/// A router, an instance beside it when `near`, and one behind toxiproxy.
struct World {
    toxiproxy: Toxiproxy,
    router: Program,
    _echoes: Vec<Program>,
    _consul: Consul,
}

impl World {
    async fn start(near: usize) -> Self {
        let consul = Consul::start().await;
        let mut echoes = Program::several("echo-agent", near, &consul.env()).await;
        let alone = [
            ("DISCOVERY", "memory".to_owned()),
            ("SERVICE_HOST", "127.0.0.1".to_owned()),
        ];
        let far = Program::start("echo-agent", &alone).await;
        let toxiproxy = Toxiproxy::start(far.grpc).await;
        let registration = json!({
            "ID": FAR, "Name": "agent-echo", "Tags": ["agent", "echo"],
            "Address": "127.0.0.1", "Port": toxiproxy.address().port(),
            "Meta": { "kind": "agent", "idempotent": "*" },
        });
        consul.put("agent/service/register", &registration).await;
        echoes.push(far);
        let router = Program::start("mcp-router", &consul.env()).await;
        consul.wait_passing("agent-echo", near + 1).await;
        let mut client = load::client(router.grpc);
        let mut known = HashSet::new();
        until("the router calls every instance", PROMPT, async || {
            known.extend(load::call(&mut client, 1).await);
            (known.len() == near + 1).then_some(())
        })
        .await;
        Self {
            toxiproxy,
            router,
            _echoes: echoes,
            _consul: consul,
        }
    }

    /// Sends messages of so many bytes, which have to come back as they were; gives the time that
    /// the fastest took.
    async fn echo(&self, bytes: usize) -> Duration {
        let mut client = load::client(self.router.grpc).max_decoding_message_size(1 << 24);
        let mut fastest = Duration::MAX;
        for round in 0..5 {
            let input: String = (0..bytes)
                .map(|n| char::from(b'a' + ((n * 7 + round) % 23) as u8))
                .collect();
            let request = Request::new(TaskRequest {
                agent_id: "echo-agent".to_owned(),
                input: input.clone(),
                ..TaskRequest::default()
            });
            let sent = Instant::now();
            let answer = client.execute_task(request).await.expect("it is answered");
            fastest = fastest.min(sent.elapsed());
            let output = answer.into_inner().output;
            assert!(output.strip_prefix("Echo Agent Response: ") == Some(&*input));
        }
        fastest
    }
}

#[tokio::test]
async fn slow_narrow_and_chopped_ways_lose_nothing() {
    let mut world = World::start(0).await;
    for (kind, attributes, bytes, least) in [
        ("latency", json!({ "latency": 100, "jitter": 50 }), 100, 50),
        // 256 KiB at 512 KB/s
        ("bandwidth", json!({ "rate": 512 }), 256 << 10, 400),
        (
            "slicer",
            json!({ "average_size": 50, "size_variation": 49, "delay": 10 }),
            64 << 10,
            0,
        ),
    ] {
        world.toxiproxy.add_toxic(kind, &attributes).await;
        let fastest = world.echo(bytes).await;
        // What is told of it is true: the bytes did go through it.
        assert!(
            fastest >= Duration::from_millis(least),
            "{kind}: {fastest:?}"
        );
        let calls = Load::start(world.router.grpc, RATE, CALLS / 4)
            .finish()
            .await;
        assert!(
            calls.iter().all(|call| call.outcome.is_ok()),
            "{kind}: {calls:?}"
        );
        world.toxiproxy.remove_toxic(kind).await;
    }
    world.router.assert_healthy();
}

#[tokio::test]
async fn ways_that_break_or_fall_silent_cost_no_call_that_may_be_repeated() {
    for (kind, attributes) in [
        ("reset_peer", json!({ "timeout": 20 })),
        // Silent, though TCP acknowledges, and ended after two seconds.
        ("timeout", json!({ "timeout": 2000 })),
    ] {
        let mut world = World::start(2).await;
        let mut load = Load::start(world.router.grpc, RATE, CALLS);
        load.wait_ended(RATE as usize).await;
        world.toxiproxy.add_toxic(kind, &attributes).await;
        let struck = Instant::now();
        let calls = load.finish().await;
        let failed: Vec<_> = calls.iter().filter(|call| call.outcome.is_err()).collect();
        assert!(
            failed.is_empty(),
            "{kind}: {} fail: {:?}",
            failed.len(),
            failed[0]
        );
        let by = |call: &&mesh_testkit::load::Call| call.outcome.as_deref().ok() == Some(FAR);
        let (before, after): (Vec<_>, Vec<_>) = calls
            .iter()
            .filter(by)
            .partition(|call| call.ended < struck);
        assert!(
            !before.is_empty(),
            "{kind}: the far instance was called before"
        );
        assert!(
            after.len() < 5,
            "{kind}: {} answers came through",
            after.len()
        );
        world.router.assert_healthy();
    }
}

#[tokio::test]
async fn two_thousand_streams_are_open_at_once_and_end_well() {
    let report = streams::open(2000, 2, Duration::from_secs(15)).await;
    assert_eq!((report.alive, report.finished), (2000, 2000), "{report:?}");
    // A stream that is open and says nothing keeps its metadata and little else.
    assert!(report.memory_each() < 32 << 10, "{report:?}");
}
