//! What instances report of their load.

use std::time::Duration;

use http::HeaderMap;
use mesh_channel::ClusterOptions;

use crate::{
    server::{self, Handler, handler, read},
    support::{Call, World},
};

/// Echoes, and reports this in its trailers.
fn reporting(name: &'static str, report: &'static str) -> Handler {
    handler(move |mut call: server::Call| async move {
        let body = read(&mut call).await.unwrap_or_default();
        let head = http::Response::builder().header("content-type", "application/grpc");
        let Ok(mut stream) = call.respond.send_response(head.body(()).unwrap(), false) else {
            return;
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        trailers.insert(name, report.parse().unwrap());
        if stream.send_data(body, false).is_ok() {
            stream.send_trailers(trailers).ok();
        }
    })
}

fn options(policy: &str) -> ClusterOptions {
    ClusterOptions {
        lb_policy: Some(policy.to_owned()),
        balance: balance::BalanceOptions {
            load_blackout: Duration::ZERO,
            ..balance::BalanceOptions::default()
        },
        ..ClusterOptions::default()
    }
}

fn instances() -> [Handler; 2] {
    [
        reporting(
            "endpoint-load-metrics",
            "TEXT cpu_utilization=0.9,rps_fractional=90",
        ),
        // cpu_utilization 0.25, rps_fractional 75, in protobuf and base64.
        reporting("endpoint-load-metrics-bin", "CQAAAAAAANA/MQAAAAAAwFJA"),
    ]
}

#[tokio::test]
async fn an_instance_that_reports_three_times_the_capacity_gets_three_times_the_calls() {
    let world = World::new(options("load_aware"));
    let _servers = world.start(instances()).await;
    let answer = world.call(Call::to("i0")).await.unwrap();
    let told = &answer.trailers["endpoint-load-metrics"];
    assert_eq!(told, "TEXT cpu_utilization=0.9,rps_fractional=90");
    world.call(Call::to("i1")).await.unwrap();
    let tally = world.tally(400).await;
    // Turns begin anywhere, and weights are told apart to a part in a thousand.
    assert!((95..=105).contains(&tally["i0"]), "{tally:?}");
}

#[tokio::test]
async fn other_policies_do_not_go_by_reports() {
    let world = World::new(options("least_request"));
    let _servers = world.start(instances()).await;
    let tally = world.tally(20).await;
    assert_eq!((tally["i0"], tally["i1"]), (10, 10), "{tally:?}");
}
