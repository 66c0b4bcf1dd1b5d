//! A caller that leaves: the instance hears of it, and nothing stays behind.

use std::time::Instant;

use futures_util::future::join_all;
use mesh_channel::ClusterOptions;
use tokio::time::timeout;

use crate::{
    server::{self, Handler, Server, echo, handler, hang, stop_midway},
    support::{Call, MS, World, until},
};

/// One call at a time: the next one is taken only when the last is counted out.
fn one_at_a_time() -> ClusterOptions {
    ClusterOptions {
        max_in_flight: 1,
        queue_timeout: 200 * MS,
        ..ClusterOptions::default()
    }
}

/// Hangs on the first call, echoes later ones.
fn first_hangs(begins: bool) -> Handler {
    handler(move |call: server::Call| async move {
        if call.seen.headers.lock().len() > 1 {
            return echo(call).await;
        }
        if begins {
            stop_midway(call).await;
        } else {
            hang(call).await;
        }
    })
}

async fn told_at_once(server: &Server, since: Instant) {
    until("the instance is told", || {
        !server.seen.resets.lock().is_empty()
    })
    .await;
    assert!(since.elapsed() < 200 * MS, "{:?}", since.elapsed());
    assert_eq!(*server.seen.resets.lock(), [h2::Reason::CANCEL]);
}

#[tokio::test]
async fn a_call_dropped_before_its_answer_is_cancelled_and_counted_out() {
    let world = World::new(one_at_a_time());
    let servers = world.start([first_hangs(false)]).await;
    timeout(100 * MS, world.call(Call::default()))
        .await
        .unwrap_err();
    let dropped = Instant::now();
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 0);
    told_at_once(&servers[0], dropped).await;
}

#[tokio::test]
async fn an_answer_dropped_midway_is_cancelled_and_counted_out() {
    let world = World::new(one_at_a_time());
    let servers = world.start([first_hangs(true)]).await;
    let answer = world.open(Call::default()).await.unwrap();
    drop(answer);
    let dropped = Instant::now();
    assert_eq!(world.call(Call::default()).await.unwrap().code(), 0);
    told_at_once(&servers[0], dropped).await;
}

#[tokio::test]
async fn a_call_is_cancelled_while_the_instance_takes_no_more_of_its_body() {
    for begins in [false, true] {
        let world = World::new(ClusterOptions::default());
        let servers = world.start([first_hangs(begins)]).await;
        let call = Call::default().body(vec![0; 1 << 20]);
        let answer = timeout(100 * MS, world.open(call)).await;
        assert_eq!(answer.is_ok(), begins);
        drop(answer);
        told_at_once(&servers[0], Instant::now()).await;
    }
}

#[tokio::test]
async fn three_thousand_cancelled_calls_leave_the_connection_alone() {
    let world = World::new(ClusterOptions {
        // No health check: its connection would be counted.
        silence: 60_000 * MS,
        ..ClusterOptions::default()
    });
    let slow = server::slow(1500 * MS);
    let servers = world
        .start([handler(move |call: server::Call| {
            let is_slow = call.request.headers().contains_key("slow");
            let slow = slow.clone();
            async move {
                if is_slow {
                    slow(call).await;
                } else {
                    hang(call).await;
                }
            }
        })])
        .await;
    let quiet = world.call(Call::default().header("slow", "1"));
    let cancelled = async {
        for batch in 1..=30 {
            let calls = (0..100).map(|_| world.call(Call::default()));
            tokio::select! {
                outcomes = join_all(calls) => panic!("answered: {outcomes:?}"),
                () = until("all are sent", || servers[0].calls() > batch * 100) => {}
            }
        }
    };
    let (answer, ()) = tokio::join!(quiet, cancelled);
    assert_eq!(answer.unwrap().code(), 0);
    assert_eq!(servers[0].connections(), 1);
    until("all are told", || {
        servers[0].seen.resets.lock().len() == 3000
    })
    .await;
}
