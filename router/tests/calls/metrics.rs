//! What a router's scrape shows, over real sockets.

use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::Value;
use testkit::{http_client, local, until};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::Code;

use crate::world::{Instance, Reply, SOON, World, call};

async fn scrape(world: &World) -> String {
    let url = format!("http://{}/metrics", world.router.admin_addr);
    let (status, text) = http_client::get(&url).await.unwrap();
    assert_eq!(status, 200, "{text}");
    text
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn served(service: &str, method: &str, code: &str) -> String {
    format!(
        "rpc_server_call_duration_seconds_count{{service=\"{service}\",\
         rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}}"
    )
}

#[tokio::test]
async fn calls_are_counted_by_the_service_that_they_are_for() {
    let world = World::start().await;
    let good = Instance::start(Reply::good()).await;
    let bad = Instance::start(Reply::failure(Code::Internal)).await;
    world.register("good", false, &[good.address]).await;
    world.register("bad", false, &[bad.address]).await;
    let mut raw = world.raw().await;
    for service in ["good", "good", "bad"] {
        call(&mut raw, service, "Do", &[]).await;
    }
    // What the router answers itself is its own.
    let list = "agentplatform.AgentService/ListAgents";
    raw.call(&format!("/{list}"), &[], &[]).await;
    let text = until("the last call is counted", SOON, async || {
        let text = scrape(&world).await;
        value(&text, &served("mcp-router", list, "OK")).and(Some(text))
    })
    .await;
    assert_eq!(value(&text, &served("good", "t.S/Do", "OK")), Some(2.0));
    assert_eq!(
        value(&text, &served("bad", "_OTHER", "INTERNAL")),
        Some(1.0)
    );
    let picks = "mesh_instance_picks_total{service=\"good\",instance=\"good-0\"}";
    // Two, and the probes.
    assert!(value(&text, picks) >= Some(3.0), "{text}");
    for series in [
        "mesh_build_info{program=\"mcp-router\",service=\"mcp-router\",kind=\"router\"",
        "mesh_loop_lag_seconds_count{thread=\"relay-0\"}",
        "mesh_loop_lag_seconds_count{thread=\"runtime\"}",
        "mesh_ready 1",
        "mesh_registry_up 1",
        "mesh_registry_registered 1",
        "mesh_slo_latency_seconds{service=\"good\"} 1.0",
        "process_cpu_seconds_total ",
    ] {
        assert!(text.contains(series), "{series} is not in:\n{text}");
    }
    world.end().await;
}

#[tokio::test]
async fn ten_thousand_made_up_services_and_methods_make_no_series() {
    let world = World::start().await;
    let good = Instance::start(Reply::good()).await;
    let bad = Instance::start(Reply::failure(Code::Unimplemented)).await;
    world.register("good", false, &[good.address]).await;
    world.register("bad", false, &[bad.address]).await;
    let mut raw = world.raw().await;
    call(&mut raw, "good", "Do", &[]).await;
    call(&mut raw, "nobody", "Do", &[]).await;
    call(&mut raw, "bad", "Do", &[]).await;
    let before = scrape(&world).await.lines().count();
    for round in 0..100 {
        let calls = (0..100).map(|number| {
            let (mut raw, number) = (raw.shared(), round * 100 + number);
            async move {
                let made_up = format!("made-up-{number}");
                // A service that is not there, and methods that are not there.
                call(&mut raw, &made_up, "Do", &[]).await;
                call(&mut raw, "bad", &made_up, &[]).await;
            }
        });
        join_all(calls).await;
    }
    let text = until("all are counted", SOON, async || {
        let text = scrape(&world).await;
        let all = value(&text, &served("bad", "_OTHER", "UNIMPLEMENTED"));
        (all >= Some(10_000.0)).then_some(text)
    })
    .await;
    assert!(value(&text, &served("_OTHER", "_OTHER", "NOT_FOUND")) >= Some(10_000.0));
    let after = text.lines().count();
    assert!(
        after <= before + 30,
        "{before} lines became {after}:\n{text}"
    );
    world.end().await;
}

/// Asks for the metrics and never reads.
async fn deaf_scraper(admin: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // One connection after the other asks as often as it can.
    for _ in 0..50 {
        if stream.write_all(request).await.is_err() {
            break;
        }
    }
    stream
}

#[tokio::test]
async fn scrapers_that_never_read_cost_little_and_hinder_no_other() {
    let world = World::with(&[("body_timeout", "1s")]).await;
    let good = Instance::start(Reply::good()).await;
    let services: Vec<String> = (0..150).map(|number| format!("service-{number}")).collect();
    for service in &services {
        let it = crate::world::registration(&format!("{service}-0"), service, false, good.address);
        discovery::Discovery::register(&*world.memory, &it)
            .await
            .unwrap();
    }
    world.register("good", false, &[good.address]).await;
    let mut raw = world.raw().await;
    for service in &services {
        call(&mut raw, service, "Do", &[]).await;
    }
    let size = scrape(&world).await.len();
    assert!(size > 300_000, "{size} bytes");
    let before = resident(&scrape(&world).await);
    let mut deaf = Vec::new();
    for _ in 0..200 {
        deaf.push(deaf_scraper(world.router.admin_addr).await);
    }
    let text = scrape(&world).await;
    let more = resident(&text) - before;
    assert!(
        more < 100e6,
        "200 deaf scrapers of {size} bytes take {more} bytes"
    );
    let answer = call(&mut raw, "good", "Do", &[]).await;
    assert_eq!(answer.status.code(), Code::Ok);
    drop(deaf);
    world.end().await;
}

fn resident(text: &str) -> f64 {
    value(text, "process_resident_memory_bytes").unwrap()
}

#[tokio::test]
async fn prometheus_is_told_where_the_metrics_of_each_instance_are() {
    let world = World::start().await;
    let other = local::start(&router::SPEC, router::build, &world.memory, &[]).await;
    let url = format!("http://{}/sd/prometheus", world.router.admin_addr);
    let targets = until("both are targets", SOON, async || {
        let all = http_client::json(&url).await?;
        (all.as_array()?.len() == 2).then_some(all)
    })
    .await;
    for it in targets.as_array().unwrap() {
        let target = it["targets"][0].as_str().unwrap();
        let (status, text) = http_client::get(&format!("http://{target}/metrics"))
            .await
            .unwrap();
        assert_eq!(status, 200);
        let Value::String(service) = &it["labels"]["mesh_service"] else {
            panic!("{it}");
        };
        let info = format!("service=\"{service}\",kind={}", it["labels"]["mesh_kind"]);
        assert!(text.contains(&info), "{info} is not in:\n{text}");
    }
    other.drain().await;
    world.end().await;
}
