//! What a scrape shows of the calls that a program makes.

use std::time::Duration;

use discovery::Discovery as _;
use mesh_channel::{ClusterOptions, Target};

use crate::{
    server::slow,
    support::{Call, MS, SERVICE, World, until},
};

fn series(world: &World, beginning: &str) -> Vec<String> {
    let text = world.registry.encode();
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    lines.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn instances_have_series_while_they_are_there_and_further_ones_share_one() {
    let world = World::new(ClusterOptions {
        metrics_instances: 2,
        ..ClusterOptions::default()
    });
    let _servers = world.start([(); 4].map(|()| slow(Duration::ZERO))).await;
    world.mesh.prepare(SERVICE);
    world.until_known(4).await;
    for id in ["i0", "i1", "i1", "i2", "i3", "i3"] {
        world.call(Call::to(id)).await.unwrap();
    }
    let picks = |id: &str| world.metric("mesh_instance_picks_total", &format!("instance=\"{id}\""));
    let all = || ["i0", "i1", "i2", "_OTHER"].map(picks);
    assert_eq!(all(), [1.0, 2.0, 0.0, 3.0]);
    for name in ["calls", "latency_seconds", "weight", "ejected"] {
        let lines = series(&world, &format!("mesh_instance_{name}{{"));
        assert_eq!(lines.len(), 3, "{lines:?}");
    }
    assert_eq!(
        world.metric("mesh_instance_weight", "instance=\"_OTHER\""),
        2.0
    );

    // One leaves: its series too, and another gets series of its own. Nothing is counted twice.
    world.memory.deregister("i0").await.unwrap();
    world.until_known(3).await;
    assert_eq!(all(), [0.0, 2.0, 0.0, 3.0]);
    world.call(Call::to("i2")).await.unwrap();
    world.call(Call::to("i3")).await.unwrap();
    assert_eq!(all(), [0.0, 2.0, 1.0, 4.0]);
    assert_eq!(
        world.metric("mesh_instance_weight", "instance=\"_OTHER\""),
        1.0
    );
    let picked = format!("mesh_balance_picks_total{{service=\"{SERVICE}\"}}");
    assert_eq!(world.registry.sample(&picked), Some(8.0));
}

#[tokio::test]
async fn calls_in_flight_the_budget_and_the_setting_are_as_they_are_at_the_scrape() {
    let world = World::new(ClusterOptions {
        slo_latency: 250 * MS,
        retry_ratio: 0.0,
        retry_per_second: 2.0,
        max_in_flight: 1,
        queue_timeout: 5000 * MS,
        ..ClusterOptions::default()
    });
    let _servers = world.start([slow(30_000 * MS)]).await;
    world.mesh.prepare(SERVICE);
    world.until_known(1).await;
    let of_service = |name: &str| {
        let series = format!("{name}{{service=\"{SERVICE}\"}}");
        world.registry.sample(&series)
    };
    assert_eq!(of_service("mesh_slo_latency_seconds"), Some(0.25));
    assert_eq!(of_service("mesh_balance_retry_budget"), Some(20.0));
    assert_eq!(of_service("mesh_balance_queue_waiting"), Some(0.0));
    let held = tokio::time::timeout(2000 * MS, world.call(Call::default()));
    let waits = tokio::time::timeout(1000 * MS, world.call(Call::default()));
    let seen = async {
        let calls = || world.metric("mesh_instance_calls", "instance=\"i0\"");
        let waiting = || of_service("mesh_balance_queue_waiting");
        until("one is held and one waits", || {
            (calls(), waiting()) == (1.0, Some(1.0))
        })
        .await;
    };
    let (_, _, ()) = tokio::join!(held, waits, seen);
    // Both were given up by their caller.
    let count = "rpc_client_call_duration_seconds_count{service=\"agent-test\",\
        rpc_method=\"_OTHER\",rpc_response_status_code=\"CANCELLED\"}";
    assert_eq!(world.registry.sample(count), Some(2.0));
}

#[tokio::test]
async fn made_up_names_of_services_make_no_series() {
    let world = World::new(ClusterOptions {
        queue_timeout: 200 * MS,
        ..ClusterOptions::default()
    });
    let _servers = world.start([slow(Duration::ZERO)]).await;
    world.call(Call::default()).await.unwrap();
    let before = world.registry.encode().lines().count();
    for round in 0..20 {
        let calls = (0..500).map(|number| {
            let mut call = Call::default();
            call.target = Target::service(&format!("made-up-{}", round * 500 + number));
            world.call(call)
        });
        let answers = futures_util::future::join_all(calls).await;
        assert!(answers.iter().all(Result::is_err));
    }
    let after = world.registry.encode().lines().count();
    // The calls that found nobody, and their duration.
    assert!(after <= before + 40, "{before} series became {after}");
    let refused = "mesh_balance_queue_refused_total{service=\"_OTHER\"}";
    assert_eq!(world.registry.sample(refused), Some(10_000.0));
    let good = "rpc_client_call_duration_seconds_count{service=\"agent-test\",\
        rpc_method=\"test.Service/Method\",rpc_response_status_code=\"OK\"}";
    assert_eq!(world.registry.sample(good), Some(1.0));
}
