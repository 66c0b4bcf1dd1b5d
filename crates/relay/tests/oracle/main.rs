//! The relay between real clients and real servers: the `h2` crate on both sides, over pipes in
//! memory, driven as it is driven over sockets.

mod streams;
#[path = "../support/mod.rs"]
mod support;
#[path = "../world/mod.rs"]
mod world;

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use mesh_relay::{Cause, Config, Ended, settings::Settings};
use tokio::time::timeout;
use world::{Answer, World, body_of, call, status_of};

const SOON: Duration = Duration::from_secs(20);

fn small_windows() -> Config {
    let settings = Settings {
        window: 1000,
        ..Config::default().clients
    };
    Config {
        clients: settings,
        instances: settings,
        connection_window: 65_535,
        max_output: 3000,
        ..Config::default()
    }
}

#[tokio::test]
async fn unary_calls_are_answered() {
    let world = World::new(Config::default(), 3);
    let client = world.client().await;
    for size in [0, 1, 100, 70_000] {
        let sent = vec![size as u8; size];
        let (got, trailers) = call(&client, "/echo", &sent).await.unwrap();
        assert!(got == sent, "{size} bytes");
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(world.ended(4).await, [Ended::Answered(Some(0)); 4]);
}

#[tokio::test]
async fn large_bodies_pass_small_windows_in_both_directions() {
    let world = World::new(small_windows(), 1);
    let client = world
        .client_with(h2::client::Builder::new().initial_window_size(777))
        .await;
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let calls = (0..3).map(|_| call(&client, "/echo", &sent));
    let all = timeout(SOON, futures_util::future::join_all(calls)).await;
    for got in all.unwrap_or_else(|_| panic!("stuck with {:?}", world.ended_so_far())) {
        assert!(got.unwrap().0 == sent);
    }
    world.ended(3).await;
    assert_eq!(world.memory().await, 0);
}

#[tokio::test]
async fn both_sides_stream_at_once() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, mut body) = world::open(&client, "/chat").await;
    let mut answer = answer.await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        body.send_data(Bytes::from(word), false).unwrap();
        let heard = answer.data().await.unwrap().unwrap();
        assert_eq!(heard, word);
    }
    body.send_data(Bytes::new(), true).unwrap();
    let (rest, trailers) = body_of(answer).await.unwrap();
    assert!(rest.is_empty());
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn trailers_only_answers_and_statuses_pass() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    assert_eq!(status_of(&client, "/fail").await, "5");
    assert_eq!(world.ended(1).await, [Ended::Answered(Some(5))]);
}

#[tokio::test]
async fn refused_streams_are_sent_again_and_cancelled_ones_are_not() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    world.script([Answer::Reset(Reason::REFUSED_STREAM), Answer::Serve]);
    let (got, _) = call(&client, "/echo", b"again").await.unwrap();
    assert_eq!(got, b"again");
    world.script([Answer::Reset(Reason::CANCEL)]);
    assert_eq!(status_of(&client, "/echo").await, "14");
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_instance() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, body) = world::open(&client, "/chat").await;
    let answer = answer.await.unwrap();
    drop((answer, body));
    assert_eq!(world.ended(1).await, [Ended::Cancelled]);
    timeout(SOON, world.cancelled()).await.unwrap();
}

#[tokio::test]
async fn a_burst_of_cancels_does_not_end_the_connection_that_all_share() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, mut body) = world::open(&client, "/chat").await;
    let mut answer = answer.await.unwrap().into_body();
    let other = world.client().await;
    for _ in 0..300 {
        drop(world::open(&other, "/echo").await);
        drop(world::open(&client, "/echo").await);
    }
    world.ended(600).await;
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(answer.data().await.unwrap().unwrap(), "x");
    call(&client, "/echo", b"another").await.unwrap();
    assert_eq!(world.dialed(), 1);
}

#[tokio::test]
async fn a_client_gets_an_early_answer_whole() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, mut body) = world::open(&client, "/early").await;
    body.send_data(Bytes::from_static(b"more to come"), false)
        .unwrap();
    let (got, trailers) = body_of(answer.await.unwrap().into_body()).await.unwrap();
    assert_eq!(got, b"early");
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let reason = futures_util::future::poll_fn(|cx| body.poll_reset(cx)).await;
    assert_eq!(reason.unwrap(), Reason::NO_ERROR);
}

#[tokio::test]
async fn an_instance_that_goes_away_finishes_and_another_connection_is_opened() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, mut body) = world::open(&client, "/chat").await;
    let mut answer = answer.await.unwrap().into_body();
    world.go_away();
    let moved = async {
        while world.dialed() < 2 {
            let (got, _) = call(&client, "/echo", b"on a new one").await.unwrap();
            assert_eq!(got, b"on a new one");
        }
    };
    timeout(SOON, moved).await.unwrap();
    body.send_data(Bytes::from_static(b"still here"), false)
        .unwrap();
    assert_eq!(answer.data().await.unwrap().unwrap(), "still here");
    body.send_data(Bytes::new(), true).unwrap();
    assert!(body_of(answer).await.is_ok());
    assert_eq!(world.dialed(), 2);
}

#[tokio::test]
async fn a_broken_connection_ends_begun_answers_with_trailers() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (answer, mut body) = world::open(&client, "/chat").await;
    let mut answer = answer.await.unwrap().into_body();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    assert_eq!(answer.data().await.unwrap().unwrap(), "x");
    world.cut();
    let (_, trailers) = body_of(answer).await.unwrap();
    assert_eq!(trailers.unwrap()["grpc-status"], "14");
    assert_eq!(world.ended(1).await, [Ended::Broken(Cause::Lost)]);
}

#[tokio::test]
async fn clients_that_do_not_read_starve_nobody() {
    let world = World::new(Config::default(), 1);
    let mut silent = Vec::new();
    for _ in 0..20 {
        let client = world.client().await;
        for _ in 0..8 {
            silent.push(world::open(&client, "/flood").await);
        }
    }
    // Their windows are full, and the engine keeps what came.
    world
        .memory_until(|bytes| bytes >= 20 * 8 * 64 * 1024)
        .await;
    let client = world.client().await;
    for _ in 0..50 {
        let echo = timeout(SOON, call(&client, "/echo", b"through")).await;
        assert_eq!(echo.unwrap().unwrap().0, b"through");
    }
    let most = 20 * 8 * 256 * 1024;
    assert!(
        world.memory().await <= most,
        "{} bytes",
        world.memory().await
    );
    drop(silent);
    world.ended(210).await;
    // What is still to be written to the instance, the cancels among it, is written first.
    world.memory_until(|bytes| bytes == 0).await;
}

#[tokio::test]
async fn readers_that_keep_too_much_lose_their_own_calls_only() {
    let config = Config {
        client_memory: 1 << 20,
        ..Config::default()
    };
    let world = World::new(config, 1);
    let client = world.client().await;
    let silent: Vec<_> =
        futures_util::future::join_all((0..20).map(|_| world::open(&client, "/flood"))).await;
    let other = world.client().await;
    for _ in 0..50 {
        let echo = timeout(SOON, call(&other, "/echo", b"through")).await;
        assert_eq!(echo.unwrap().unwrap().0, b"through");
    }
    let broken = world.ended(66).await;
    assert!(broken.contains(&Ended::Broken(Cause::Memory)));
    assert!(world.memory().await <= 2 << 20);
    drop(silent);
}

#[tokio::test]
async fn the_instances_limit_of_streams_is_kept() {
    let world = World::with_limit(Config::default(), 1, 3);
    let client = world.client().await;
    let calls = (0..50).map(|_| call(&client, "/slow", b"q"));
    let got = timeout(SOON, futures_util::future::join_all(calls))
        .await
        .unwrap();
    assert!(got.iter().all(Result::is_ok));
    assert!(world.dialed() <= 32);
}

#[tokio::test]
async fn a_drain_ends_when_the_calls_have_ended() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let slow = call(&client, "/slow", b"under way");
    tokio::pin!(slow);
    assert!(timeout(Duration::from_millis(5), &mut slow).await.is_err());
    world.drain(Duration::from_secs(10)).await;
    assert_eq!(slow.await.unwrap().0, b"under way");
    assert_eq!(timeout(SOON, world.stopped()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let world = World::new(Config::default(), 1);
    let client = world.client().await;
    let (_answer, _body) = world::open(&client, "/chat").await;
    world.ready().await;
    world.drain(Duration::from_millis(100)).await;
    assert_eq!(timeout(SOON, world.stopped()).await.unwrap(), 1);
}

#[tokio::test]
async fn many_clients_at_once_are_answered_and_nothing_is_left() {
    let world = World::new(Config::default(), 3);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(world.client().await);
    }
    let calls = clients.iter().flat_map(|client| {
        (0..40).map(move |n: usize| async move {
            let sent = vec![n as u8; n * n * 20];
            let got = call(client, "/echo", &sent).await.unwrap();
            assert!(got.0 == sent);
        })
    });
    timeout(SOON, futures_util::future::join_all(calls))
        .await
        .unwrap();
    assert_eq!(world.ended(400).await.len(), 400);
    assert_eq!(world.memory().await, 0);
    assert!(
        world.dialed() <= 6,
        "two connections to each hold 200 calls"
    );
    drop(clients);
    world.left(10).await;
}
