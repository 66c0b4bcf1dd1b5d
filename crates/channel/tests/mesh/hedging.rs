//! Calls that are sent to a second instance before the first has answered.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use mesh_channel::ClusterOptions;

use crate::{
    server::{self, Server, echo, handler, hang, slow, status},
    support::{Call, MS, World, until},
};

fn options(delay: Duration) -> ClusterOptions {
    ClusterOptions {
        hedge_delay: delay,
        ejection_failures: 1_000,
        ..ClusterOptions::default()
    }
}

fn idempotent() -> Call {
    Call::default().header("x-mesh-idempotent", "1")
}

fn total(servers: &[Server]) -> usize {
    servers.iter().map(Server::calls).sum()
}

fn hedges(world: &World) -> f64 {
    world.metric("mesh_balance_retries_total", "reason=\"hedge\"")
}

#[tokio::test]
async fn the_second_instance_answers_when_the_first_hangs_and_that_is_told_so() {
    let world = World::new(options(50 * MS));
    let servers = world.start([handler(hang), handler(echo)]).await;
    for _ in 0..4 {
        let answer = world.call(idempotent()).await.unwrap();
        assert_eq!((answer.by.as_str(), answer.code()), ("i1", 0));
        assert_eq!(&answer.body[5..], b"hello");
    }
    let hung = servers[0].calls();
    assert!(hung > 0);
    until("the hanging calls are cancelled", || {
        *servers[0].seen.resets.lock() == vec![h2::Reason::CANCEL; hung]
    })
    .await;
    assert_eq!(hedges(&world), hung as f64);
    let attempts = |server: &Server| {
        let headers = server.seen.headers.lock();
        let second = headers.iter().filter(|h| {
            h.get("grpc-previous-rpc-attempts")
                .is_some_and(|v| v == "1")
        });
        second.count()
    };
    assert_eq!((attempts(&servers[0]), attempts(&servers[1])), (0, hung));
}

#[tokio::test]
async fn a_call_that_is_answered_in_time_is_sent_once() {
    let world = World::new(options(2000 * MS));
    let servers = world.start((0..2).map(|_| handler(echo))).await;
    for _ in 0..10 {
        assert_eq!(world.call(idempotent()).await.unwrap().code(), 0);
    }
    assert_eq!(total(&servers), 10);
}

#[tokio::test]
async fn a_call_that_may_not_run_twice_is_not_hedged_nor_one_for_a_single_instance() {
    let world = World::new(options(5 * MS));
    let servers = world.start((0..2).map(|_| slow(100 * MS))).await;
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 0);
    let pinned = Call::to("i0").header("x-mesh-idempotent", "1");
    assert_eq!(world.call(pinned).await.unwrap().code(), 0);
    assert_eq!(total(&servers), 2);
}

#[tokio::test]
async fn without_a_delay_nothing_is_hedged() {
    for (delay, attempts) in [(20 * MS, 2), (Duration::ZERO, 1)] {
        let world = World::new(options(delay));
        let servers = world.start((0..2).map(|_| slow(300 * MS))).await;
        assert_eq!(world.call(idempotent()).await.unwrap().code(), 0);
        assert_eq!(total(&servers), attempts, "{delay:?}");
    }
}

#[tokio::test]
async fn hedges_stay_within_the_budget_and_their_maximum() {
    let world = World::new(ClusterOptions {
        retry_per_second: 0.0,
        retry_ratio: 0.5,
        hedge_max: 3,
        ..options(20 * MS)
    });
    let servers = world.start((0..5).map(|_| slow(200 * MS))).await;
    for _ in 0..8 {
        assert_eq!(world.call(idempotent()).await.unwrap().code(), 0);
    }
    assert_eq!(total(&servers), 8 + 4);
    assert_eq!(hedges(&world), 4.0);
    let world = World::new(ClusterOptions {
        hedge_max: 3,
        ..options(20 * MS)
    });
    let servers = world.start((0..5).map(|_| slow(300 * MS))).await;
    assert_eq!(world.call(idempotent()).await.unwrap().code(), 0);
    assert_eq!(total(&servers), 3);
}

#[tokio::test]
async fn a_failed_attempt_is_followed_at_once() {
    let world = World::new(options(3000 * MS));
    let _servers = world
        .start([handler(|c| status(c, 14)), handler(echo)])
        .await;
    let began = Instant::now();
    for _ in 0..4 {
        let answer = world.call(idempotent()).await.unwrap();
        assert_eq!((answer.by.as_str(), answer.code()), ("i1", 0));
    }
    assert!(began.elapsed() < 2000 * MS, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_hedge_that_finds_no_room_leaves_the_first_attempt_alone() {
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 50 * MS,
        ..options(20 * MS)
    });
    let servers = world.start([slow(300 * MS), slow(600 * MS)]).await;
    let busy = world.call(Call::to("i1"));
    let hedged = async {
        until("the other is busy", || servers[1].calls() == 1).await;
        world.call(idempotent()).await
    };
    let (_, answer) = tokio::join!(busy, hedged);
    let answer = answer.unwrap();
    assert_eq!((answer.by.as_str(), answer.code()), ("i0", 0));
}

#[tokio::test]
async fn when_all_fail_the_last_status_is_the_answer() {
    let world = World::new(options(10 * MS));
    let servers = world
        .start((0..2).map(|_| handler(|c| status(c, 14))))
        .await;
    assert_eq!(world.call(idempotent()).await.unwrap().code(), 14);
    assert_eq!(total(&servers), 2);
}

#[tokio::test]
async fn a_request_larger_than_the_buffer_is_sent_once_and_whole() {
    let world = World::new(options(10 * MS));
    let servers = world.start((0..2).map(|_| slow(100 * MS))).await;
    let large: Vec<u8> = (0..200_000).map(|i| (i % 251) as u8).collect();
    let answer = world.call(idempotent().body(large.clone())).await.unwrap();
    assert!(answer.body == large);
    assert_eq!(total(&servers), 1);
}

#[tokio::test]
async fn an_instance_that_says_stop_is_not_followed() {
    let stop = || {
        handler(|mut call: server::Call| async move {
            let answer = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", 14)
                .header("grpc-retry-pushback-ms", "-1")
                .body(())
                .unwrap();
            call.respond.send_response(answer, true).ok();
        })
    };
    let world = World::new(options(2000 * MS));
    let servers = world.start([stop(), stop()]).await;
    assert_eq!(world.call(idempotent()).await.unwrap().code(), 14);
    assert_eq!(total(&servers), 1);
}

#[tokio::test]
async fn a_call_that_no_instance_took_is_sent_again_without_a_budget() {
    let world = World::new(ClusterOptions {
        retry_per_second: 0.0,
        retry_ratio: 0.0,
        ..options(3000 * MS)
    });
    let refuses_once = || {
        let refused = AtomicBool::new(false);
        handler(move |mut call: server::Call| {
            let first = !refused.swap(true, Ordering::SeqCst);
            async move {
                if first {
                    call.respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    echo(call).await;
                }
            }
        })
    };
    let servers = world.start([refuses_once(), refuses_once()]).await;
    assert_eq!(world.call(idempotent()).await.unwrap().code(), 0);
    assert_eq!(total(&servers), 3);
}
