//! Instances that say nothing: the stopped, the merely quiet, and the unreachable.

use std::time::{Duration, Instant};

use mesh_channel::ClusterOptions;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    server::{echo, handler, slow},
    support::{Call, MS, World, until},
};

#[tokio::test]
async fn a_stopped_instance_is_avoided_within_two_seconds_and_its_calls_wait() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([slow(300 * MS), handler(echo)]).await;
    world.tally(2).await;
    let waiting = world.call(Call::to("i0"));
    let others = async {
        world.until_in_flight("i0", 1).await;
        servers[0].pause(true);
        let paused = Instant::now();
        let ejections = || world.metric("mesh_balance_ejections_total", "reason=\"silent\"");
        until("it is ejected", || ejections() == 1.0).await;
        assert!(paused.elapsed() < 2100 * MS, "{:?}", paused.elapsed());
        assert_eq!(world.tally(20).await["i1"], 20);
        assert!(paused.elapsed() < 2600 * MS, "{:?}", paused.elapsed());
        assert_eq!(ejections(), 1.0);
        servers[0].pause(false);
    };
    let (answer, ()) = tokio::join!(waiting, others);
    let answer = answer.unwrap();
    assert_eq!((answer.by.as_str(), answer.code()), ("i0", 0));
    world.until_usable(2.0).await;
    assert_eq!(world.tally(4).await.len(), 2);
}

#[tokio::test]
async fn short_deadlines_do_not_hide_that_an_instance_stopped() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([handler(echo), handler(echo)]).await;
    world.tally(2).await;
    servers[0].pause(true);
    let began = Instant::now();
    while began.elapsed() < 2200 * MS {
        let call = Call::default().header("grpc-timeout", "100m");
        world.call(call).await.ok();
        sleep(5 * MS).await;
    }
    assert_eq!(world.tally(20).await["i1"], 20);
}

#[tokio::test]
async fn the_only_instance_is_not_judged() {
    let world = World::new(ClusterOptions {
        silence: 200 * MS,
        silence_probe: 200 * MS,
        ..ClusterOptions::default()
    });
    let servers = world.start([handler(echo)]).await;
    world.tally(1).await;
    servers[0].pause(true);
    let waiting = world.call(Call::default());
    let later = async {
        sleep(900 * MS).await;
        servers[0].pause(false);
    };
    let (answer, ()) = tokio::join!(waiting, later);
    assert_eq!(answer.unwrap().code(), 0);
    let ejections = world.metric("mesh_balance_ejections_total", "reason=\"silent\"");
    assert_eq!(ejections, 0.0);
}

#[tokio::test]
async fn a_quiet_call_is_left_alone_when_health_is_unimplemented() {
    let world = World::new(ClusterOptions::default());
    let servers = world.start([slow(Duration::from_secs(5))]).await;
    let began = Instant::now();
    let answer = world.call(Call::default()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert_eq!(answer.code(), 0);
    let ejections = world.metric("mesh_balance_ejections_total", "reason=\"silent\"");
    assert_eq!(ejections, 0.0);
    assert_eq!(servers[0].connections(), 2, "health has one of its own");
    until("that one is closed", || servers[0].open() == 1).await;
}

/// A listener whose queue is full: the kernel drops further attempts, as a broken network does.
async fn full() -> (Socket, Vec<TcpStream>, std::net::SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(50 * MS, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting, address)
}

#[tokio::test]
async fn a_black_hole_costs_a_call_no_more_than_its_patience() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_listener, _waiting, dropping) = full().await;
    let holes = [mute.local_addr().unwrap(), dropping];
    // What connecting may take, and for how long a call waits for it: the defaults, and others.
    let times = [(1000 * MS, 100 * MS), (400 * MS, 200 * MS)];
    for ((connect_timeout, connect_patience), hole) in times
        .into_iter()
        .flat_map(|times| holes.map(|hole| (times, hole)))
    {
        let world = World::new(ClusterOptions {
            connect_timeout,
            connect_patience,
            ..ClusterOptions::default()
        });
        let _servers = world.start([handler(echo)]).await;
        world.register("i1", hole).await;
        sleep(20 * MS).await;
        let mut waited = 0;
        for _ in 0..10 {
            let began = Instant::now();
            assert_eq!(world.call(Call::default()).await.unwrap().by, "i0");
            let took = began.elapsed();
            assert!(took < connect_patience + 100 * MS, "{took:?}");
            waited += usize::from(took > connect_patience - 10 * MS);
        }
        assert!(waited > 0, "{hole} was never tried");
        // After a failed connect nobody waits for the next.
        sleep(connect_timeout).await;
        for _ in 0..10 {
            let began = Instant::now();
            assert_eq!(world.call(Call::default()).await.unwrap().by, "i0");
            assert!(began.elapsed() < 60 * MS, "{:?}", began.elapsed());
        }
        timeout(2000 * MS, world.mesh.shutdown()).await.unwrap();
    }
}
