//! The Consul backend against a real Consul.

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use mesh_discovery::{
    Check, Discovery, Error, Health, Registration, Upkeep,
    backends::{Consul, ConsulOptions},
};
use support::{agent::Agent, consul, proxy::Proxy, registration, seen, serving};
use tokio::{
    net::TcpListener,
    process::Command,
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

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
    let health = |snapshot: &mesh_discovery::Snapshot| {
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
async fn a_restarted_consul_never_empties_a_set_and_gets_its_instances_back() {
    let mut agent = Agent::start().await;
    let consul = consul(&agent.address());
    let stays = Upkeep::start(consul.clone(), registration("agent-echo", "stays"));
    consul
        .register(&registration("agent-echo", "lost"))
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
    let upkeep = Upkeep::start(consul.clone(), registration("agent-echo", "echo-1"));
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
    timeout(SECOND * 2, upkeep.registered().wait_for(|known| *known))
        .await
        .unwrap()
        .unwrap();
    seen(&mut receiver, SECOND * 6, |snapshot| {
        snapshot.instances.len() == 1
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
async fn many_services_are_watched_over_few_connections() {
    let mut agent = Agent::start().await;
    let proxy = Proxy::start(agent.address()).await;
    let watcher = consul(proxy.address());
    let consul = consul(&agent.address());
    let names: Vec<_> = (0..120).map(|n| format!("agent-{n}")).collect();
    for name in &names {
        consul.register(&registration(name, name)).await.unwrap();
    }
    let mut receivers: Vec<_> = names.iter().map(|name| watcher.watch(name)).collect();
    for receiver in &mut receivers {
        seen(receiver, SECOND * 10, |snapshot| {
            snapshot.instances.len() == 1
        })
        .await;
    }
    sleep(SECOND).await;
    assert!(
        proxy.most() < 200,
        "{} connections at one time",
        proxy.most()
    );
    let before = proxy.requests();
    agent
        .put("agent/service/maintenance/agent-7?enable=true", "")
        .await;
    seen(&mut receivers[7], SECOND, |snapshot| {
        snapshot.serving().count() == 0
    })
    .await;
    consul
        .register(&registration("agent-9", "another"))
        .await
        .unwrap();
    seen(&mut receivers[9], SECOND, |snapshot| {
        snapshot.instances.len() == 2
    })
    .await;
    consul.deregister("agent-9").await.unwrap();
    seen(&mut receivers[9], SECOND, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    let asked = proxy.requests() - before;
    assert!(asked < 30, "{asked} requests for three changes");

    // The overseer's word of the outage reaches services that asked nothing meanwhile.
    agent.kill().await;
    agent.restart().await;
    sleep(SECOND * 8).await;
    let kept = receivers
        .iter()
        .filter(|receiver| serving(receiver) == 1)
        .count();
    assert_eq!(kept, 119, "all but the one in maintenance");

    // With few of them left each watches for itself again.
    receivers.drain(20..);
    agent
        .put(
            "agent/service/register",
            r#"{"Name": "agent-500", "Port": 1}"#,
        )
        .await;
    consul
        .register(&registration("agent-3", "newcomer"))
        .await
        .unwrap();
    seen(&mut receivers[3], SECOND, |snapshot| {
        snapshot.instances.len() == 2
    })
    .await;
    sleep(SECOND).await;
    assert!(proxy.open() < 110, "{} connections", proxy.open());
}

#[tokio::test]
async fn a_wrong_token_is_refused_in_consuls_words() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" } }"#;
    let agent = Agent::start_with(&[acl]).await;
    let with = |token: &str| {
        let (address, token) = (agent.address(), Some(token.to_owned()));
        Consul::new(ConsulOptions {
            address,
            token,
            ..ConsulOptions::default()
        })
        .unwrap()
    };
    let it = registration("agent-echo", "echo-1");
    let right = with("root");
    let begun = Instant::now();
    // The master token exists only once the agent leads.
    while let Err(error) = right.register(&it).await {
        assert!(begun.elapsed() < SECOND * 20, "{error}");
        sleep(SECOND / 5).await;
    }
    let mut receiver = right.watch("agent-echo");
    seen(&mut receiver, SECOND * 10, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;

    let wrong = with("wrong");
    let error = wrong.register(&it).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("ACL not found"), "{error}");
    assert!(matches!(
        wrong.is_registered("echo-1").await,
        Err(Error::Refused { .. })
    ));
}

#[tokio::test]
async fn https_works_with_the_right_authority_and_certificate_only() {
    let dir = tempfile::tempdir().unwrap();
    for authority in ["ca", "other"] {
        openssl(dir.path(), &format!("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem")).await;
    }
    std::fs::write(dir.path().join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    for name in ["server", "client"] {
        openssl(
            dir.path(),
            &format!(
                "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ),
        )
        .await;
        openssl(dir.path(), &format!("x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem")).await;
    }
    let file = |name: &str| dir.path().join(name);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let agent = Agent::start_with(&[
        &format!("ports {{ https = {port} }} verify_incoming_https = true"),
        &format!(
            "ca_file = {:?} cert_file = {:?}",
            file("ca.pem"),
            file("server.pem")
        ),
        &format!("key_file = {:?}", file("server.key")),
    ])
    .await;
    let good = ConsulOptions {
        address: format!("https://127.0.0.1:{port}"),
        ca_file: Some(file("ca.pem")),
        client_cert: Some(file("client.pem")),
        client_key: Some(file("client.key")),
        ..ConsulOptions::default()
    };
    let it = registration("agent-echo", "echo-1");
    Consul::new(good.clone())
        .unwrap()
        .register(&it)
        .await
        .unwrap();
    assert!(
        consul(&agent.address())
            .is_registered("echo-1")
            .await
            .unwrap()
    );

    let wrong_ca = ConsulOptions {
        ca_file: Some(file("other.pem")),
        ..good.clone()
    };
    let error = Consul::new(wrong_ca)
        .unwrap()
        .register(&it)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("certificate"), "{error}");
    let no_certificate = ConsulOptions {
        client_cert: None,
        client_key: None,
        ..good
    };
    let refused = Consul::new(no_certificate).unwrap().register(&it).await;
    assert!(
        matches!(refused, Err(Error::Unreachable { .. })),
        "{refused:?}"
    );
}

async fn openssl(dir: &Path, arguments: &str) {
    let run = Command::new("openssl")
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .await;
    let run = run.expect("openssl is installed");
    assert!(
        run.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[tokio::test]
async fn dropping_the_backend_ends_its_watches() {
    let agent = Agent::start().await;
    let consul: Arc<dyn Discovery> = consul(&agent.address());
    let mut receiver = consul.watch("agent-echo");
    seen(&mut receiver, SECOND * 5, |_| true).await;
    drop(consul);
    timeout(SECOND, async { while receiver.changed().await.is_ok() {} })
        .await
        .unwrap();
}
