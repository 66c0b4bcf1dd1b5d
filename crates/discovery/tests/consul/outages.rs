//! A Consul that is down, or was.

use mesh_discovery::{Error, Registrar, Registration};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{SECOND, agent::Agent, consul, registration, seen, serving};

#[tokio::test]
async fn a_restarted_consul_never_empties_a_set_and_gets_its_instances_back() {
    let mut agent = Agent::start().await;
    let consul = consul(&agent.address());
    let stays = Registrar::start(consul.clone(), registration("agent-echo", "stays"));
    consul
        .register(&Registration {
            port: 50053,
            ..registration("agent-echo", "lost")
        })
        .await
        .unwrap();
    let mut receiver = consul.watch("agent-echo");
    let mut catalog = consul.catalog();
    seen(&mut receiver, SECOND * 5, |snapshot| {
        snapshot.instances.len() == 2
    })
    .await;
    timeout(SECOND, catalog.wait_for(Option::is_some))
        .await
        .unwrap()
        .unwrap();

    agent.kill().await;
    sleep(SECOND).await;
    assert_eq!(serving(&receiver), 2, "an error keeps the last known set");
    agent.restart().await;
    let back = Instant::now();
    while !consul.is_registered("stays").await.unwrap() {
        assert!(
            back.elapsed() < SECOND * 2,
            "not registered again within 2 s"
        );
        assert_eq!(serving(&receiver), 2);
        sleep(SECOND / 20).await;
    }
    // Past the longest backoff, and before the end of the grace.
    sleep(SECOND * 8).await;
    assert_eq!(serving(&receiver), 2);
    assert!(
        catalog
            .borrow()
            .as_ref()
            .unwrap()
            .services
            .contains_key("agent-echo")
    );
    // What nobody registers again goes when the grace is over, though Consul has no news of it.
    let snapshot = seen(&mut receiver, SECOND * 35, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    assert_eq!(&*snapshot.instances[0].key.id, "stays");
    assert!(
        back.elapsed() > SECOND * 29,
        "given up after {:?}",
        back.elapsed()
    );
    stays.deregister().await.unwrap();
    seen(&mut receiver, SECOND, |snapshot| {
        snapshot.instances.is_empty()
    })
    .await;
}

#[tokio::test]
async fn everything_starts_while_consul_is_down() {
    let mut agent = Agent::start().await;
    agent.kill().await;
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("agent-echo");
    let registrar = Registrar::start(consul.clone(), registration("agent-echo", "echo-1"));
    let error = consul
        .register(&registration("agent-echo", "other"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    sleep(SECOND).await;
    assert!(
        receiver.borrow().is_none(),
        "nothing is known before the first answer"
    );
    agent.restart().await;
    timeout(SECOND * 2, registrar.registered().wait_for(|known| *known))
        .await
        .unwrap()
        .unwrap();
    seen(&mut receiver, SECOND * 6, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
}

/// A container that was killed and started again has its address and another ID, and the check of the
/// dead registration reaches the new process.
#[tokio::test]
async fn a_process_replaces_what_a_killed_one_left_at_its_address_and_nothing_else() {
    let agent = Agent::start().await;
    let consul = consul(&agent.address());
    let elsewhere = Registration {
        port: 50053,
        ..registration("agent-echo", "elsewhere")
    };
    let left = [
        registration("agent-echo", "dead"),
        registration("agent-other", "other"),
        elsewhere,
    ];
    let mut receiver = consul.watch("agent-echo");
    let ids = |known: &mesh_discovery::Snapshot| {
        let ids = known.instances.iter().map(|i| i.key.id.to_string());
        ids.collect::<Vec<_>>()
    };
    for it in &left {
        consul.register(it).await.unwrap();
    }
    let registrar = Registrar::start(consul.clone(), registration("agent-echo", "alive"));
    seen(&mut receiver, SECOND * 3, |known| {
        ids(known) == ["alive", "elsewhere"]
    })
    .await;
    assert!(consul.is_registered("other").await.unwrap());

    // Whoever keeps it for another does not know who else is there.
    let kept = registration("agent-echo", "kept");
    let kept = Registrar::start_third_party(consul.clone(), kept);
    seen(&mut receiver, SECOND * 3, |known| {
        ids(known) == ["alive", "elsewhere", "kept"]
    })
    .await;
    kept.deregister().await.unwrap();

    // The same when it registers again because Consul forgot it.
    consul.register(&left[0]).await.unwrap();
    consul.deregister("alive").await.unwrap();
    seen(&mut receiver, SECOND * 3, |known| {
        ids(known) == ["alive", "elsewhere"]
    })
    .await;
    registrar.deregister().await.unwrap();
}

#[tokio::test]
async fn what_an_operator_removes_stays_removed_and_what_consul_forgot_comes_back() {
    let mut agent = Agent::start().await;
    let consul = consul(&agent.address());
    let kept = |id: &str, port| {
        let it = Registration {
            port,
            ..registration("agent-old", id)
        };
        Registrar::start_third_party(consul.clone(), it)
    };
    let (stays, goes) = (kept("stays", 1), kept("goes", 2));
    for registrar in [&stays, &goes] {
        let mut registered = registrar.registered();
        let known = timeout(SECOND * 5, registered.wait_for(|known| *known)).await;
        known.unwrap().unwrap();
    }
    agent.kill().await;
    agent.restart().await;
    let begun = Instant::now();
    while !consul.is_registered("stays").await.unwrap()
        || !consul.is_registered("goes").await.unwrap()
    {
        assert!(begun.elapsed() < SECOND * 5, "it forgot both");
        sleep(SECOND / 20).await;
    }
    sleep(SECOND * 2).await;
    consul.deregister("goes").await.unwrap();
    sleep(SECOND * 4).await;
    assert!(!consul.is_registered("goes").await.unwrap() && goes.is_finished());
    assert!(consul.is_registered("stays").await.unwrap() && !stays.is_finished());
}
