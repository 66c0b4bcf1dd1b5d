//! Many services.

use tokio::time::sleep;

use crate::support::{SECOND, agent::Agent, consul, proxy::Proxy, registration, seen, serving};

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

    // The bulk watcher's word of the outage reaches services that asked nothing meanwhile.
    agent.kill().await;
    agent.restart().await;
    sleep(SECOND * 8).await;
    let lost: Vec<_> = receivers
        .iter()
        .filter(|receiver| serving(receiver) != 1)
        .collect();
    assert_eq!(lost.len(), 1, "all but the one in maintenance: {lost:?}");

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

/// Neither the port, nor a weight, nor an instance without a check shows in any check.
#[tokio::test]
async fn among_two_thousand_services_a_change_that_no_check_shows_is_seen_at_once() {
    const SERVICES: usize = 2000;
    let agent = Agent::start().await;
    let proxy = Proxy::start(agent.address()).await;
    let watcher = consul(proxy.address());
    let bare = |name: &str, id: &str, port: u16, more: &str| {
        format!(
            r#"{{"Name": "{name}", "ID": "{id}", "Address": "127.0.0.1", "Port": {port}, "Tags": ["grpc"]{more}}}"#
        )
    };
    for n in 0..SERVICES {
        let name = format!("svc-{n}");
        agent
            .put("agent/service/register", &bare(&name, &name, 1, ""))
            .await;
    }
    let mut receivers: Vec<_> = (0..SERVICES)
        .map(|n| watcher.watch(&format!("svc-{n}")))
        .collect();
    for receiver in &mut receivers {
        seen(receiver, SECOND * 60, |snapshot| {
            snapshot.instances.len() == 1
        })
        .await;
    }
    sleep(SECOND * 3).await;
    // In an unoptimised build beside other tests: released it is a tenth of that.
    let soon = SECOND * 4;
    agent
        .put("agent/service/register", &bare("svc-7", "svc-7", 2, ""))
        .await;
    seen(&mut receivers[7], soon, |snapshot| {
        snapshot.instances[0].port == 2
    })
    .await;
    let weights = r#", "Weights": {"Passing": 50, "Warning": 1}"#;
    agent
        .put(
            "agent/service/register",
            &bare("svc-8", "svc-8", 1, weights),
        )
        .await;
    seen(&mut receivers[8], soon, |snapshot| {
        snapshot.instances[0].weight == 50
    })
    .await;
    let meta = r#", "Meta": {"version": "2"}"#;
    agent
        .put("agent/service/register", &bare("svc-9", "svc-9", 1, meta))
        .await;
    seen(&mut receivers[9], soon, |snapshot| {
        snapshot.instances[0].version() == "2"
    })
    .await;
    agent
        .put("agent/service/register", &bare("svc-10", "another", 3, ""))
        .await;
    seen(&mut receivers[10], soon, |snapshot| {
        snapshot.instances.len() == 2
    })
    .await;
    agent.put("agent/service/deregister/another", "").await;
    seen(&mut receivers[10], soon, |snapshot| {
        snapshot.instances.len() == 1
    })
    .await;
    assert!(
        proxy.most() < 200,
        "{} connections at one time",
        proxy.most()
    );
    sleep(SECOND * 2).await;
    let before = proxy.requests();
    sleep(SECOND * 5).await;
    let idle = proxy.requests() - before;
    assert!(idle < 50, "{idle} requests in 5 s in which nothing happens");
}
