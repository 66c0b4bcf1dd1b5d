//! Minutes of mixed load through one router, while instances come and go: what must not grow, does
//! not. Prints a line about each ten seconds, and fails when memory is not flat, or when after the load
//! calls or files are left.
//!
//! `cargo run -p mesh-testkit --example soak -- --minutes 10`

#[path = "soak/churn.rs"]
mod churn;
#[path = "soak/mix.rs"]
mod mix;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use churn::Churn;
use mesh_testkit::{Consul, Program, load, until};
use mix::{Mix, Tally};
use proto::agentplatform::StatusRequest;
use tokio::time::{Instant, sleep};

/// Between two lines of the table so many instances go, one each five seconds.
const DEPARTURES: usize = 2;
/// What closed connections and ended calls may take to be gone.
const SETTLE: Duration = Duration::from_secs(30);
/// By how much the last third's memory may be above the second's: noise of the allocator.
const NOISE: f64 = 0.05;
/// And by how many MiB whatever its size.
const NOISE_MIB: f64 = 4.0;
/// Files that may be left above the number before: connections to instances that came meanwhile.
const FILES: usize = 12;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => 10.0,
        (Some("--minutes"), Some(text)) => text.parse().expect("a number of minutes"),
        _ => panic!("call it as: soak --minutes 10"),
    };
    let consul = Consul::start().await;
    let mut router = Program::start("mcp-router", &consul.env()).await;
    let mut churn = Churn::start(&consul).await;
    let mut client = load::client(router.grpc);
    until("the router knows the agents", SETTLE, async || {
        load::call(&mut client, 1).await.ok()
    })
    .await;
    let files = router.process.files();

    let tally = Arc::new(Tally::default());
    let mut mix = Mix::start(router.grpc, &tally);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut samples = Vec::new();
    println!(
        "| s | RSS MiB | files | threads | calls under way | succeeded | cancelled | refused | lost | failed | killed, left |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let begun = Instant::now();
    while Instant::now() < end {
        for _ in 0..DEPARTURES {
            churn.next(&consul).await;
        }
        let memory = router.process.memory() as f64 / 1024.0 / 1024.0;
        samples.push(memory);
        println!(
            "| {} | {memory:.1} | {} | {} | {} | {} | {}, {} |",
            begun.elapsed().as_secs(),
            router.process.files(),
            router.process.threads(),
            tally.under_way.load(Ordering::Relaxed),
            tally.told(),
            churn.killed,
            churn.left,
        );
    }
    mix.end().await;
    router.assert_healthy();
    let under_way = tally.under_way.load(Ordering::Relaxed);
    assert_eq!(under_way, 0, "calls never ended");

    // Calls that instances still have, by their own word.
    let status = StatusRequest {
        agent_id: "echo-agent".to_owned(),
    };
    until("no instance has a call", SETTLE, async || {
        let answer = client.get_status(status.clone()).await.ok()?;
        (answer.into_inner().active_tasks == 0).then_some(())
    })
    .await;
    until("connections are closed", SETTLE, async || {
        (router.process.files() <= files + FILES).then_some(())
    })
    .await;
    router.wait_relay_idle(SETTLE).await;
    sleep(Duration::from_secs(1)).await;
    let idle = router.process.memory() as f64 / 1024.0 / 1024.0;
    println!(
        "\nafter it: {idle:.1} MiB, {} files ({files} before)",
        router.process.files()
    );

    let third = samples.len() / 3;
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len().max(1) as f64;
    let (second, last) = (
        mean(&samples[third..2 * third]),
        mean(&samples[2 * third..]),
    );
    println!("memory: {second:.1} MiB in the second third, {last:.1} MiB in the last");
    assert!(last <= second * (1.0 + NOISE) + NOISE_MIB, "memory grows");
    let failed = tally.failed.load(Ordering::Relaxed);
    assert_eq!(failed, 0, "calls failed that should not");
}
