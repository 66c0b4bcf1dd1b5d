//! Who comes and who goes, as Consul shows it and as calls feel it.

use std::time::Duration;

use mesh_testkit::{Consul, Load, Program, RouterMesh, Signal, load::Call, until};
use serde_json::{Value, json};
use tokio::time::Instant;

const RATE: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
/// How long an instance may take to register, or to deregister, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_new_instance_takes_traffic_within_a_second_of_passing() {
    let RouterMesh {
        router,
        echoes: _echoes,
        consul,
    } = RouterMesh::start(2, &[], &[]).await;
    let mut load = Load::start(router.grpc, RATE, 1000);
    load.wait_ended(200).await;
    let new = Program::start("echo-agent", &consul.env()).await;
    let passing = seen(&consul, |ids| ids.contains(&new.id)).await;
    let calls = all_well(load.finish().await);
    let first = calls
        .iter()
        .filter(|call| call.outcome.as_ref().is_ok_and(|id| *id == new.id));
    let first = first
        .map(|call| call.ended)
        .min()
        .expect("the new instance was called");
    let took = first.saturating_duration_since(passing);
    assert!(took < SECOND, "its first call came after {took:?}");
}

#[tokio::test]
async fn a_stopped_instance_gets_no_call_a_second_after_it_deregistered() {
    let RouterMesh {
        router,
        mut echoes,
        consul,
    } = RouterMesh::start(3, &[], &[]).await;
    let mut load = Load::start(router.grpc, RATE, 1000);
    load.wait_ended(200).await;
    let mut leaving = echoes.remove(0);
    leaving.signal(Signal::Terminate);
    let gone = seen(&consul, |ids| !ids.contains(&leaving.id)).await;
    let calls = all_well(load.finish().await);
    let late = calls.iter().filter(|call| call.sent > gone + SECOND);
    let late: Vec<_> = late.map(|call| call.outcome.as_ref().unwrap()).collect();
    assert!(late.len() > 100, "the load went on: {}", late.len());
    assert!(!late.contains(&&leaving.id), "it was still called");
    assert!(leaving.process.wait_exit(PATIENCE).await.success());
}

#[tokio::test]
async fn consul_shows_every_instance_with_its_own_id_tags_and_a_passing_check() {
    let consul = Consul::start().await;
    let env = consul.env();
    let rows = [
        ("mcp-router", 2, "mcp-router", ["router", "mcp"].as_slice()),
        (
            "echo-agent",
            3,
            "agent-echo",
            &["agent", "echo", "text-processing"],
        ),
        (
            "weather-tool",
            1,
            "tool-weather",
            &["tool", "weather", "data"],
        ),
        (
            "itinerary-worker",
            1,
            "worker-itinerary",
            &["worker", "itinerary", "planning"],
        ),
    ];
    let mut running = Vec::new();
    for (name, count, service, tags) in rows {
        let programs = Program::several(name, count, &env).await;
        let ids = consul.wait_passing(service, count).await;
        let entries = consul.get(&format!("health/service/{service}")).await;
        for program in &programs {
            assert!(
                ids.contains(&program.id) && program.id.starts_with(name),
                "{ids:?}"
            );
            check_entry(&entries, program, tags);
        }
        running.extend(programs);
    }
    // The checks are Consul's own gRPC health checks, and go on passing when they have run.
    until("every check has run", Duration::from_secs(20), async || {
        let checks = consul.get("agent/checks").await;
        let checks = checks.as_object()?;
        let ran = |check: &Value| {
            check["Output"]
                .as_str()
                .is_some_and(|output| !output.is_empty())
        };
        (checks.len() == 7
            && checks
                .values()
                .all(|check| ran(check) && check["Status"] == "passing"))
        .then_some(())
    })
    .await;
}

fn check_entry(entries: &Value, program: &Program, tags: &[&str]) {
    let found = entries
        .as_array()
        .expect("as Consul tells it")
        .iter()
        .find(|entry| entry["Service"]["ID"] == program.id);
    let entry = found.unwrap_or_else(|| panic!("{} is not in {entries}", program.id));
    let service = &entry["Service"];
    assert_eq!(service["Tags"], json!(tags));
    assert_eq!(
        (&service["Address"], &service["Port"]),
        (&json!("127.0.0.1"), &json!(program.grpc.port()))
    );
    assert_eq!(
        service["Meta"]["admin_port"],
        program.admin.port().to_string()
    );
    let checks = entry["Checks"].as_array().expect("as Consul tells it");
    let own = checks
        .iter()
        .filter(|check| check["ServiceID"] == program.id);
    let own: Vec<_> = own.map(|check| &check["Status"]).collect();
    assert_eq!(own, ["passing"], "{checks:?}");
}

/// When Consul was first seen to say this of the instances that pass.
async fn seen(consul: &Consul, condition: impl Fn(&[String]) -> bool) -> Instant {
    until("Consul sees it", PATIENCE, async || {
        let ids = consul.passing("agent-echo").await;
        condition(&ids).then(Instant::now)
    })
    .await
}

/// Nobody's coming or going costs a call.
fn all_well(calls: Vec<Call>) -> Vec<Call> {
    let failed: Vec<_> = calls
        .iter()
        .filter_map(|call| call.outcome.as_ref().err())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    calls
}
