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

    // The overseer's word of the outage reaches services that asked nothing meanwhile.
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
