//! What an instance takes at once, and what waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::future::join_all;
use mesh_channel::{ClusterOptions, Error};
use tokio::sync::Barrier;

use crate::{
    server::{self, Server, echo, handler, slow},
    support::{Call, MS, World, about},
};

#[tokio::test]
async fn a_peer_with_two_streams_gets_further_connections() {
    let world = World::new(ClusterOptions::default());
    let barrier = Arc::new(Barrier::new(20));
    // Nobody is answered before all twenty are there: a queued one would stop them all.
    let together = handler(move |call: server::Call| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            echo(call).await;
        }
    });
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(together, address, Some(2)).await;
    world.register("i0", server.address).await;
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| world.call(Call::default()))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
    assert!(began.elapsed() < 2000 * MS, "{:?}", began.elapsed());
    assert!((10..=12).contains(&server.connections()));
}

#[tokio::test]
async fn calls_past_the_connections_wait_for_a_stream() {
    let world = World::new(ClusterOptions {
        max_connections: 2,
        ..ClusterOptions::default()
    });
    let address = "127.0.0.1:0".parse().unwrap();
    let server = Server::start_with(slow(20 * MS), address, Some(1)).await;
    world.register("i0", server.address).await;
    let answers = join_all((0..20).map(|_| world.call(Call::default()))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
    assert_eq!(server.connections(), 2);
}

/// Echoes after 5 ms, and counts how many calls it had at once.
fn counting() -> (server::Handler, Arc<AtomicUsize>) {
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let noted = Arc::clone(&most);
    let handler = handler(move |call: server::Call| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&noted));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(5 * MS).await;
            now.fetch_sub(1, Ordering::SeqCst);
            echo(call).await;
        }
    });
    (handler, most)
}

#[tokio::test]
async fn calls_past_the_limit_wait_and_none_is_forgotten() {
    for limit in [1, 3] {
        let world = World::new(ClusterOptions {
            max_in_flight: limit,
            ..ClusterOptions::default()
        });
        let (handler, most) = counting();
        let _servers = world.start([handler]).await;
        let answers = join_all((0..60).map(|_| world.call(Call::default()))).await;
        assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
        assert_eq!(most.load(Ordering::SeqCst), limit as usize);
    }
}

#[tokio::test]
async fn a_call_that_waited_in_vain_is_told_which_limit_it_met() {
    let world = World::new(ClusterOptions {
        max_in_flight: 2,
        queue_timeout: 200 * MS,
        ..ClusterOptions::default()
    });
    let _servers = world.start([slow(600 * MS)]).await;
    let refused = async {
        world.until_in_flight("i0", 2).await;
        let began = Instant::now();
        let error = world.call(Call::default()).await.unwrap_err();
        assert!(about(began, 200 * MS), "{:?}", began.elapsed());
        error
    };
    let held = join_all([world.call(Call::default()), world.call(Call::default())]);
    let (held, error) = tokio::join!(held, refused);
    assert!(held.iter().all(|a| a.as_ref().unwrap().code() == 0));
    assert!(matches!(error, Error::Saturated { .. }), "{error}");
    let status = error.status();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let info = proto::error_info::read(&status).unwrap();
    assert_eq!(info.metadata["key"], "max_in_flight");
}

#[tokio::test]
async fn a_full_instance_leaves_its_calls_to_another() {
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 50 * MS,
        ..ClusterOptions::default()
    });
    let servers = world.start((0..3).map(|_| slow(200 * MS))).await;
    let answers = join_all((0..3).map(|_| world.call(Call::default()))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
    assert!(servers.iter().all(|server| server.calls() == 1));
}

#[tokio::test]
async fn a_call_that_waits_costs_no_time_of_the_processor() {
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 500 * MS,
        ..ClusterOptions::default()
    });
    let gone = Server::start(handler(echo)).await.address;
    world.register("i0", gone).await;
    let turns = AtomicUsize::new(0);
    let mut call = Box::pin(world.call(Call::default()));
    let counted = std::future::poll_fn(|cx| {
        turns.fetch_add(1, Ordering::SeqCst);
        call.as_mut().poll(cx)
    });
    counted.await.unwrap_err();
    let turns = turns.into_inner();
    assert!(turns < 40, "polled {turns} times while nothing happened");
}

#[tokio::test]
async fn a_place_that_becomes_free_wakes_one_of_those_who_wait_for_any() {
    const CALLS: usize = 200;
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 30_000 * MS,
        ..ClusterOptions::default()
    });
    let _servers = world.start([handler(echo), handler(echo)]).await;
    let turns = AtomicUsize::new(0);
    let calls = (0..CALLS).map(|_| {
        let mut call = Box::pin(world.call(Call::default()));
        let turns = &turns;
        std::future::poll_fn(move |cx| {
            turns.fetch_add(1, Ordering::SeqCst);
            call.as_mut().poll(cx)
        })
    });
    let answers = join_all(calls).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
    let turns = turns.into_inner();
    assert!(
        turns < 20 * CALLS,
        "{CALLS} calls were polled {turns} times"
    );
}

#[tokio::test]
async fn calls_for_one_instance_and_for_any_wait_side_by_side() {
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 30_000 * MS,
        ..ClusterOptions::default()
    });
    let _servers = world.start([handler(echo), slow(5 * MS)]).await;
    let calls = (0..120).map(|number| match number % 3 {
        0 => Call::to("i0"),
        1 => Call::to("i1"),
        _ => Call::default(),
    });
    let began = Instant::now();
    let answers = join_all(calls.map(|call| world.call(call))).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap().code() == 0));
    assert!(began.elapsed() < 15_000 * MS, "somebody was forgotten");
}
