//! What is registered, seen and forgotten.

use mesh_discovery::{Check, Health, Registration, Snapshot};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};

use crate::support::{SECOND, agent::Agent, consul, proxy::Proxy, registration, seen, serving};

#[tokio::test]
async fn an_instance_is_seen_and_gone_within_a_second() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("agent-echo");
    let mut catalog = consul.catalog();
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.is_empty()
    })
    .await;

    consul
        .register(&registration("agent-echo", "echo-1"))
        .await
        .unwrap();
    let snapshot = seen(&mut receiver, SECOND, |snapshot| {
        !snapshot.instances.is_empty()
    })
    .await;
    let instance = &snapshot.instances[0];
    assert_eq!((&*instance.key.node, &*instance.key.id), ("test", "echo-1"));
    assert_eq!(instance.authority(), "127.0.0.1:50052");
    assert_eq!((instance.health, instance.weight), (Health::Passing, 10));
    assert_eq!(instance.version(), "1.0.0");
    assert_eq!(instance.public_id(), "echo-agent");
    let named = catalog.wait_for(|now| now.as_ref().is_some_and(|now| !now.services.is_empty()));
    let named = timeout(SECOND, named)
        .await
        .unwrap()
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(
        named
            .services
            .keys()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["agent-echo"]
    );
    assert_eq!(named.services["agent-echo"], ["agent", "echo"]);
    assert!(consul.is_registered("echo-1").await.unwrap());

    consul.deregister("echo-1").await.unwrap();
    seen(&mut receiver, SECOND, |snapshot| {
        snapshot.instances.is_empty()
    })
    .await;
    assert!(!consul.is_registered("echo-1").await.unwrap());
    consul
        .deregister("echo-1")
        .await
        .expect("what is not there is removed already");
}

#[tokio::test]
async fn maintenance_is_seen_as_critical_within_a_second() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    consul
        .register(&registration("agent-echo", "echo-1"))
        .await
        .unwrap();
    let mut receiver = consul.watch("agent-echo");
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.serving().count() == 1
    })
    .await;
    for (enable, count) in [(true, 0), (false, 1)] {
        agent
            .put(
                &format!("agent/service/maintenance/echo-1?enable={enable}"),
                "",
            )
            .await;
        let snapshot = seen(&mut receiver, SECOND, |snapshot| {
            snapshot.serving().count() == count
        })
        .await;
        assert_eq!(
            snapshot.instances.len(),
            1,
            "a critical instance is still known"
        );
    }
}

#[tokio::test]
async fn consul_itself_checks_the_port_by_tcp_and_by_grpc() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    // It takes connections and never says a word: well by TCP, not by gRPC.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (id, check) in [("tcp", Check::Tcp), ("grpc", Check::Grpc)] {
        let it = Registration {
            port,
            check,
            check_interval: SECOND,
            ..registration("agent-x", id)
        };
        consul.register(&it).await.unwrap();
    }
    let mut receiver = consul.watch("agent-x");
    let health = |snapshot: &Snapshot| {
        snapshot
            .instances
            .iter()
            .map(|i| (i.key.id.to_string(), i.health))
            .collect::<Vec<_>>()
    };
    seen(&mut receiver, SECOND * 10, |snapshot| {
        let passing = Health::Passing;
        health(snapshot)
            == [
                ("grpc".to_owned(), Health::Critical),
                ("tcp".to_owned(), passing),
            ]
    })
    .await;
    drop(listener);
    seen(&mut receiver, SECOND * 10, |snapshot| {
        snapshot.serving().count() == 0
    })
    .await;
}

#[tokio::test]
async fn an_unknown_service_does_not_spin_and_is_seen_when_it_appears() {
    let agent = Agent::start().await;
    let proxy = Proxy::start(agent.address()).await;
    let watcher = consul(proxy.address());
    let consul = consul(&agent.address());
    let mut receiver = watcher.watch("agent-nobody");
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.is_empty()
    })
    .await;
    let begun = Instant::now();
    for n in 0..40 {
        let other = format!("other-{n}");
        consul
            .register(&registration(&other, &other))
            .await
            .unwrap();
        sleep(SECOND / 20).await;
    }
    let per_second = proxy.requests() as f64 / begun.elapsed().as_secs_f64();
    assert!(per_second <= 12.0, "{per_second} requests a second");
    consul
        .register(&registration("agent-nobody", "echo-1"))
        .await
        .unwrap();
    seen(&mut receiver, SECOND, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
}

#[tokio::test]
async fn watching_ends_with_the_last_receiver_and_starts_again() {
    let agent = Agent::start().await;
    let proxy = Proxy::start(agent.address()).await;
    let consul = consul(proxy.address());
    consul
        .register(&registration("agent-echo", "echo-1"))
        .await
        .unwrap();
    for _ in 0..3 {
        let mut first = consul.watch("agent-echo");
        let second = consul.watch("agent-echo");
        seen(&mut first, SECOND * 5, |snapshot| {
            snapshot.instances.len() == 1
        })
        .await;
        assert_eq!(serving(&second), 1, "one watch serves all receivers");
        drop((first, second));
    }
    sleep(SECOND / 2).await;
    let before = proxy.requests();
    agent
        .put("agent/service/maintenance/echo-1?enable=true", "")
        .await;
    sleep(SECOND / 2).await;
    assert_eq!(proxy.requests(), before, "nobody is left to ask for");
}

#[tokio::test]
async fn dropping_the_backend_ends_its_watches() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("agent-echo");
    seen(&mut receiver, SECOND * 5, |_| true).await;
    drop(consul);
    timeout(SECOND, async { while receiver.changed().await.is_ok() {} })
        .await
        .unwrap();
}
