//! Instances that fail: out of use for a while, never too many at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use discovery::Health;
use mesh_channel::ClusterOptions;

use crate::{
    server::{self, Handler, Server, answer, echo, handler, read, status},
    support::{Call, MS, World, until},
};

fn fails() -> Handler {
    handler(|call| status(call, 14))
}

fn ejected(world: &World) -> f64 {
    world.metric("mesh_balance_ejections_total", "reason=\"failures\"")
}

async fn calls(world: &World, calls: usize) {
    for _ in 0..calls {
        world.call(Call::default()).await.unwrap();
    }
}

fn counts(servers: &[Server]) -> Vec<usize> {
    servers.iter().map(Server::calls).collect()
}

#[tokio::test]
async fn five_failures_in_a_row_eject_for_a_time() {
    let options = ClusterOptions {
        ejection_time: 500 * MS,
        ..ClusterOptions::default()
    };
    let sooner = ClusterOptions {
        ejection_failures: 3,
        ..options.clone()
    };
    for (options, failures) in [(options, 5), (sooner, 3)] {
        let world = World::new(options);
        let broken = Arc::new(AtomicBool::new(true));
        let state = Arc::clone(&broken);
        let fails_while_broken = handler(move |call: server::Call| {
            let code = if state.load(Ordering::SeqCst) { 14 } else { 0 };
            status(call, code)
        });
        let servers = world.start([fails_while_broken, handler(echo)]).await;
        calls(&world, 2 * (failures - 1)).await;
        assert_eq!(ejected(&world), 0.0, "one failure less is not enough");
        calls(&world, 20).await;
        let others = 20 + failures - 2;
        assert_eq!(counts(&servers), [failures, others]);
        assert_eq!(ejected(&world), 1.0);
        broken.store(false, Ordering::SeqCst);
        world.until_usable(2.0).await;
        calls(&world, 10).await;
        assert_eq!(counts(&servers), [failures + 5, others + 5]);
    }
}

#[tokio::test]
async fn no_ejection_is_longer_than_the_longest() {
    let world = World::new(ClusterOptions {
        ejection_time: 60_000 * MS,
        ejection_max: 200 * MS,
        ..ClusterOptions::default()
    });
    let fails = handler(|call: server::Call| status(call, 14));
    let servers = world.start([fails, handler(echo)]).await;
    calls(&world, 20).await;
    assert_eq!(counts(&servers)[0], 5);
    let back = async {
        while counts(&servers)[0] == 5 {
            calls(&world, 1).await;
            tokio::time::sleep(10 * MS).await;
        }
    };
    tokio::time::timeout(5_000 * MS, back)
        .await
        .expect("used again");
}

#[tokio::test]
async fn failures_of_calls_that_were_under_way_do_not_count_after_an_ejection() {
    let world = World::new(ClusterOptions {
        ejection_time: 300 * MS,
        ..ClusterOptions::default()
    });
    let fails_late = handler(|call: server::Call| async move {
        tokio::time::sleep(50 * MS).await;
        status(call, 14).await;
    });
    let _servers = world.start([fails_late, handler(echo)]).await;
    let calls = (0..20).map(|_| world.call(Call::to("i0")));
    futures_util::future::join_all(calls).await;
    assert_eq!(ejected(&world), 1.0);
    world.until_usable(2.0).await;
    for expected in [1.0, 1.0, 1.0, 1.0, 2.0] {
        world.call(Call::to("i0")).await.unwrap();
        assert_eq!(ejected(&world), expected);
    }
}

#[tokio::test]
async fn a_failure_in_the_trailers_counts_and_a_success_starts_anew() {
    let world = World::new(ClusterOptions::default());
    let in_trailers = handler(|mut call: server::Call| async move {
        let body = read(&mut call).await.unwrap_or_default();
        let fails = call.request.headers().contains_key("fail");
        answer(call, body, if fails { 14 } else { 0 });
    });
    let _servers = world.start([in_trailers]).await;
    let fail = Call::default().header("fail", "1");
    for _ in 0..4 {
        world.call(fail.clone()).await.unwrap();
    }
    world.call(Call::default()).await.unwrap();
    for expected in [0.0, 0.0, 0.0, 0.0, 1.0] {
        world.call(fail.clone()).await.unwrap();
        assert_eq!(ejected(&world), expected);
    }
}

#[tokio::test]
async fn at_most_half_of_the_instances_are_ejected() {
    let world = World::new(ClusterOptions::default());
    let servers = world
        .start([fails(), fails(), fails(), handler(echo)])
        .await;
    calls(&world, 100).await;
    assert_eq!(ejected(&world), 2.0);
    let before = counts(&servers);
    calls(&world, 20).await;
    let after = counts(&servers);
    let used: Vec<_> = (0..4).filter(|i| after[*i] > before[*i]).collect();
    assert_eq!(used.len(), 2, "{before:?} {after:?}");
    assert!(used.contains(&3));
}

#[tokio::test]
async fn the_only_instance_is_used_even_when_it_fails() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([fails()]).await;
    calls(&world, 20).await;
    assert_eq!(counts(&servers), [20]);
}

#[tokio::test]
async fn when_most_instances_are_ejected_all_are_used() {
    for (panic_percent, used) in [(50, 4), (0, 1)] {
        let world = World::new(ClusterOptions {
            ejection_percent: 100,
            panic_percent,
            ..ClusterOptions::default()
        });
        let servers = world
            .start([fails(), fails(), fails(), handler(echo)])
            .await;
        calls(&world, 60).await;
        assert_eq!(ejected(&world), 3.0);
        let before = counts(&servers);
        calls(&world, 20).await;
        let after = counts(&servers);
        let called = (0..4).filter(|i| after[*i] > before[*i]).count();
        assert_eq!(called, used, "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn an_instance_that_becomes_passing_is_forgiven() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([fails(), handler(echo)]).await;
    calls(&world, 30).await;
    assert_eq!(counts(&servers), [5, 25]);
    world.memory.set_health("i0", Health::Critical);
    let usable = || world.metric("mesh_balance_endpoints", "state=\"usable\"");
    let serving = || world.metric("mesh_balance_endpoints", "state=\"serving\"");
    until("it is out", || serving() == 1.0).await;
    calls(&world, 4).await;
    world.memory.set_health("i0", Health::Passing);
    until("it is back", || usable() == 2.0).await;
    calls(&world, 4).await;
    assert_eq!(counts(&servers), [7, 31]);
}
