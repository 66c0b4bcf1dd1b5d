//! The caller's time, kept and passed on.

use std::time::{Duration, Instant};

use mesh_channel::{ClusterOptions, Error, deadline};

use crate::{
    server::{Server, echo, handler, hang, status, stop_midway},
    support::{Call, MS, World, about, until},
};

fn forwarded(server: &Server) -> Vec<Duration> {
    let headers = server.seen.headers.lock();
    let read = |h| deadline::read(h).unwrap().expect("there is a deadline");
    headers.iter().map(read).collect()
}

#[tokio::test]
async fn the_deadline_is_passed_on_shortened_for_each_attempt() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(|c| status(c, 14))]).await;
    let call = Call::default()
        .header("grpc-timeout", "2S")
        .header("x-mesh-idempotent", "");
    world.call(call).await.unwrap();
    let left = forwarded(&servers[0]);
    assert_eq!(left.len(), 3);
    assert!(left[0] <= 2000 * MS && left[0] > 1500 * MS, "{left:?}");
    // The pause between the attempts is 20 ms at least.
    assert!(left[1] + 20 * MS <= left[0], "{left:?}");
    assert!(left[2] + 20 * MS <= left[1], "{left:?}");
}

#[tokio::test]
async fn without_a_deadline_none_is_made_up_unless_configured() {
    for (default_timeout, expected) in [(0, None), (900, Some(900 * MS))] {
        let world = World::new(ClusterOptions {
            default_timeout: default_timeout * MS,
            ..ClusterOptions::default()
        });
        let servers = world.start([handler(echo)]).await;
        world.call(Call::default()).await.unwrap();
        let left = deadline::read(&servers[0].seen.headers.lock()[0]).unwrap();
        assert_eq!(left.is_some(), expected.is_some());
        assert!(left <= expected);
    }
}

#[tokio::test]
async fn a_silent_instance_does_not_hold_a_call_past_its_deadline() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(hang)]).await;
    let began = Instant::now();
    let call = Call::default().header("grpc-timeout", "300m");
    let error = world.call(call).await.unwrap_err();
    assert!(matches!(error, Error::Deadline(_)), "{error}");
    assert_eq!(error.status().code(), tonic::Code::DeadlineExceeded);
    assert!(about(began, 300 * MS), "{:?}", began.elapsed());
    until("the instance is told", || {
        servers[0].seen.resets.lock().contains(&h2::Reason::CANCEL)
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_stops_midway_ends_at_the_deadline_with_its_status() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(stop_midway)]).await;
    let began = Instant::now();
    let call = Call::default().header("grpc-timeout", "300m");
    let answer = world.call(call).await.unwrap();
    assert!(about(began, 300 * MS), "{:?}", began.elapsed());
    assert_eq!((answer.code(), &answer.body[..]), (4, &b"first"[..]));
    until("the instance is told", || {
        !servers[0].seen.resets.lock().is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_deadline_ends_the_wait_for_an_instance_as_itself() {
    let world = World::new(ClusterOptions {
        max_in_flight: 1,
        ..ClusterOptions::default()
    });
    let _servers = world.start([handler(hang)]).await;
    let (_, _held) = tokio::join!(
        async {
            world.until_in_flight("i0", 1).await;
            let call = Call::default().header("grpc-timeout", "200m");
            let error = world.call(call).await.unwrap_err();
            assert!(matches!(error, Error::Deadline(_)), "{error}");
        },
        tokio::time::timeout(400 * MS, world.call(Call::default())),
    );
}

#[tokio::test]
async fn a_malformed_deadline_is_the_callers_mistake() {
    let world = World::new(ClusterOptions::default());
    let call = Call::default().header("grpc-timeout", "soon");
    let error = world.call(call).await.unwrap_err();
    assert_eq!(error.status().code(), tonic::Code::InvalidArgument);
}
