//! More than one attempt of a call: retries, hedges, and what instances say about their load.

use std::{path::Path, time::Duration};

use prost::Message as _;
use proto::agentplatform::TaskRequest;
use serde_json::Value;
use testkit::{raw::RawResponse, until};
use tokio::time::Instant;
use tonic::Code;

use crate::world::{Instance, Reply, SOON, World, call};

const SERVICE: &str = "agent-probe";

/// A router with these settings before instances of [`SERVICE`], whose methods may run twice.
async fn world(settings: &[(&str, &str)], instances: &[&Instance]) -> World {
    let world = World::with(settings).await;
    let addresses: Vec<_> = instances.iter().map(|it| it.address).collect();
    world.register(SERVICE, true, &addresses).await;
    world
}

/// A call that its message routes, where all messages are `TaskRequest`s.
async fn execute(world: &World) -> RawResponse {
    let task = TaskRequest {
        agent_id: SERVICE.to_owned(),
        ..TaskRequest::default()
    };
    let path = "/agentplatform.AgentService/ExecuteTask";
    let mut raw = world.raw().await;
    raw.call(path, &[], &task.encode_to_vec()).await
}

#[tokio::test]
async fn calls_follow_the_capacity_that_instances_report_in_their_trailers() {
    const BINARY: &str = "endpoint-load-metrics-bin";
    // cpu_utilization 0.25 at rps_fractional 75: it could serve 300.
    let strong = Reply::good().trailer(BINARY, "CQAAAAAAANA/MQAAAAAAwFJA");
    // 0.75 at 75: it could serve 100.
    let weak = Reply::good().trailer(BINARY, "CQAAAAAAAOg/MQAAAAAAwFJA");
    let (strong, weak) = (Instance::start(strong).await, Instance::start(weak).await);
    let settings = [("lb_policy", "load_aware"), ("load_blackout", "0s")];
    let world = world(&settings, &[&strong, &weak]).await;
    let shares = async |calls: usize| {
        let before = (strong.calls(), weak.calls());
        for _ in 0..calls {
            let answer = execute(&world).await;
            assert!(answer.status.metadata().contains_key(BINARY), "passed on");
        }
        (strong.calls() - before.0, weak.calls() - before.1)
    };
    // Weights are made anew each second.
    until("the weights are those of the reports", SOON, async || {
        (shares(8).await == (6, 2)).then_some(())
    })
    .await;
    let (most, least) = shares(200).await;
    assert_eq!(most + least, 200);
    assert!((47..=53).contains(&least), "{most} and {least}");
    world.end().await;
}

#[tokio::test]
async fn a_slow_instances_calls_are_answered_by_another_when_hedged() {
    let slow = Instance::start(Reply::good().after(Duration::from_secs(30))).await;
    let fast = Instance::start(Reply::good()).await;
    let settings = [("hedge_delay", "50ms"), ("silence", "60s")];
    let world = world(&settings, &[&slow, &fast]).await;
    for _ in 0..6 {
        let answer = execute(&world).await;
        assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
        assert_eq!(answer.headers["x-mesh-instance"], "agent-probe-1");
    }
    assert!(slow.calls() > 0);
    assert!(slow.previous_attempts().iter().all(Option::is_none));
    let second = fast.previous_attempts().iter().flatten().count();
    assert_eq!((second, fast.calls()), (slow.calls(), 6));
    world.end().await;
}

#[tokio::test]
async fn a_hedged_call_is_written_down_with_its_service_instance_and_attempts() {
    let slow = Instance::start(Reply::good().after(Duration::from_secs(30))).await;
    let fast = Instance::start(Reply::good()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let settings = [
        ("hedge_delay", "50ms"),
        ("silence", "60s"),
        ("access_log", path.to_str().unwrap()),
    ];
    let world = world(&settings, &[&slow, &fast]).await;
    let mut raw = world.raw().await;
    for _ in 0..4 {
        execute(&world).await;
    }
    // One is not hedged, since it names its instance.
    let pinned = [("x-mesh-instance", "agent-probe-1")];
    call(&mut raw, SERVICE, "Pinned", &pinned).await;
    let lines = until("the calls are written down", SOON, async || {
        let lines = calls_written(&path);
        (lines.len() == 5).then_some(lines)
    })
    .await;
    assert!(slow.calls() > 0);
    let mut attempts = 0;
    for line in &lines {
        assert_eq!(line["service"], SERVICE, "{line}");
        assert_eq!(line["instance"], "agent-probe-1", "{line}");
        assert_eq!(line["status"], "OK", "{line}");
        assert!(line["request_bytes"].as_u64() >= Some(5), "{line}");
        attempts += line["attempts"].as_u64().unwrap();
    }
    let sent = u64::try_from(slow.calls() + fast.calls()).unwrap();
    assert_eq!(attempts, sent, "{lines:?}");
    world.end().await;
}

/// The lines of an access log, but those of probes.
fn calls_written(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["method"] != "t.S/Probe")
        .collect()
}

#[tokio::test]
async fn a_pushback_says_when_another_attempt_may_come_and_whether() {
    const PUSHBACK: &str = "grpc-retry-pushback-ms";
    for pushback in ["300", "-1"] {
        let failing = Reply::failure(Code::Unavailable).head(PUSHBACK, pushback);
        let failing = Instance::start(failing).await;
        let good = Instance::start(Reply::good()).await;
        let world = world(&[], &[&failing, &good]).await;
        let mut codes = Vec::new();
        let mut longest = Duration::ZERO;
        // At least one of two in turn meets the failing one.
        for _ in 0..2 {
            let began = Instant::now();
            codes.push(execute(&world).await.status.code());
            longest = longest.max(began.elapsed());
        }
        let failed = codes.iter().filter(|code| **code != Code::Ok).count();
        let told: Vec<_> = good.previous_attempts().into_iter().flatten().collect();
        let what = format!("{pushback}: {codes:?} in {longest:?}");
        assert!(failing.calls() > 0, "{what}");
        if pushback == "-1" {
            assert_eq!((failed, told.len()), (failing.calls(), 0), "{what}");
        } else {
            let expected = vec!["1".to_owned(); failing.calls()];
            assert_eq!((failed, told), (0, expected), "{what}");
            assert!(longest >= Duration::from_millis(300), "{what}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn the_pause_before_an_attempt_grows_with_the_attempts() {
    let mut failing = Vec::new();
    for _ in 0..5 {
        failing.push(Instance::start(Reply::failure(Code::Unavailable)).await);
    }
    let all: Vec<_> = failing.iter().collect();
    let world = world(&[("max_attempts", "5")], &all).await;
    let began = Instant::now();
    let answer = execute(&world).await;
    let took = began.elapsed();
    assert_eq!(answer.status.code(), Code::Unavailable);
    assert!(failing.iter().all(|instance| instance.calls() == 1));
    // 25, 50, 100 and 200 ms, less a fifth at most. A constant pause would be 120 ms at most.
    assert!(took >= Duration::from_millis(300), "{took:?}");
    world.end().await;
}
