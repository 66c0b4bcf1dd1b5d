//! Instances that come and go, and the end of a mesh.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use discovery::Health;
use mesh_channel::ClusterOptions;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    server::{echo, handler, slow},
    support::{Call, MS, World, until},
};

#[tokio::test]
async fn a_call_on_an_instance_that_is_removed_goes_on_to_its_end() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([slow(400 * MS), handler(echo)]).await;
    let removed = async {
        world.until_in_flight("i0", 1).await;
        world.memory.remove("i0");
        world.until_known(1).await;
        assert_eq!(world.tally(10).await["i1"], 10);
    };
    let (answer, ()) = tokio::join!(world.call(Call::to("i0")), removed);
    let answer = answer.unwrap();
    assert_eq!((answer.by.as_str(), answer.code()), ("i0", 0));
    until("its connection is closed", || servers[0].open() == 0).await;
}

#[tokio::test]
async fn an_instance_that_moves_is_called_at_its_new_address() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(echo), handler(echo)]).await;
    world.memory.remove("i1");
    world.tally(1).await;
    world.register("i0", servers[1].address).await;
    until("the old connection is closed", || servers[0].open() == 0).await;
    world.tally(3).await;
    assert_eq!((servers[0].calls(), servers[1].calls()), (1, 3));
}

#[tokio::test]
async fn an_instance_that_comes_is_used_and_one_that_goes_is_not() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(echo), handler(echo)]).await;
    world.memory.remove("i1");
    assert_eq!(world.tally(4).await["i0"], 4);
    world.register("i1", servers[1].address).await;
    world.until_known(2).await;
    // It joins a warm one, so it starts slowly.
    let tally = world.tally(100).await;
    assert!((1..40).contains(&tally["i1"]), "{tally:?}");
}

#[tokio::test]
async fn a_mesh_that_is_dropped_closes_its_connections_after_its_calls() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([slow(300 * MS), handler(echo)]).await;
    let (_, idle) = world.open(Call::to("i1")).await.unwrap();
    drop(idle);
    let held = world.mesh.clone();
    let mut client = Box::pin(async move {
        let request = http::Request::post("/test.Service/Method")
            .body(tonic::body::Body::empty())
            .unwrap();
        let target = mesh_channel::Target::service(crate::support::SERVICE).instance("i0");
        held.call(&target, request, |_| {}).await
    });
    timeout(100 * MS, &mut client).await.unwrap_err();
    drop(world);
    let response = client.await.unwrap();
    until("the idle connection is closed", || servers[1].open() == 0).await;
    assert_eq!(servers[0].open(), 1);
    let body = http_body_util::BodyExt::collect(response.into_body());
    assert!(body.await.unwrap().trailers().is_some());
    until("the last connection is closed", || servers[0].open() == 0).await;
}

#[tokio::test]
async fn shutdown_waits_for_the_calls_in_flight() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([slow(300 * MS)]).await;
    let ended = async {
        world.until_in_flight("i0", 1).await;
        timeout(2000 * MS, world.mesh.shutdown()).await.unwrap();
        until("its connection is closed", || servers[0].open() == 0).await;
    };
    let (answer, ()) = tokio::join!(world.call(Call::default()), ended);
    assert_eq!(answer.unwrap().code(), 0);
}

#[tokio::test]
async fn one_that_comes_as_critical_starts_slowly_when_it_begins_to_serve() {
    let world = World::new(ClusterOptions {
        balance: balance::BalanceOptions {
            slow_start: Duration::from_secs(2),
            ..balance::BalanceOptions::default()
        },
        ..ClusterOptions::default()
    });
    let servers = world.start([handler(echo)]).await;
    let other = crate::server::Server::start(handler(echo)).await;
    world.tally(1).await;
    // Nothing is seen of it before it is critical.
    world.register("i1", other.address).await;
    world.memory.set_health("i1", Health::Critical);
    // Slow start would be over, had it begun.
    sleep(2100 * MS).await;
    assert_eq!(world.tally(4).await["i0"], 4);
    world.memory.set_health("i1", Health::Passing);
    world.until_usable(2.0).await;
    world.tally(100).await;
    assert!((1..40).contains(&other.calls()), "{}", other.calls());
    assert_eq!(servers[0].calls() + other.calls(), 105);
}

#[tokio::test]
async fn an_instance_whose_health_flaps_is_connected_to_by_one_task() {
    let world = World::new(ClusterOptions {
        backoff_min: 50 * MS,
        backoff_max: 50 * MS,
        queue_timeout: 5 * MS,
        ..ClusterOptions::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.register("i0", listener.local_addr().unwrap()).await;
    let dials = Arc::<AtomicUsize>::default();
    let noted = Arc::clone(&dials);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // Each connection is closed as soon as it is there.
        while listener.accept().await.is_ok() {
            noted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for _ in 0..20 {
        world.call(Call::to("i0")).await.unwrap_err();
        for health in [Health::Critical, Health::Passing] {
            world.memory.set_health("i0", health);
            sleep(2 * MS).await;
        }
    }
    world.call(Call::to("i0")).await.unwrap_err();
    let before = dials.load(Ordering::SeqCst);
    sleep(1000 * MS).await;
    let dials = dials.load(Ordering::SeqCst) - before;
    assert!((5..40).contains(&dials), "{dials} times in a second");
}
