//! What anybody may write into Consul, and nobody could call.

use mesh_discovery::Snapshot;
use serde_json::{Value, json};

use crate::support::{SECOND, agent::Agent, consul, seen};

fn service(name: &str, id: &str) -> Value {
    json!({"Name": name, "ID": id, "Address": "127.0.0.1", "Port": 1, "Tags": ["grpc"]})
}

async fn register(agent: &Agent, mut service: Value, more: Value) {
    let more = more.as_object().expect("an object").clone();
    service.as_object_mut().expect("an object").extend(more);
    agent
        .put("agent/service/register", &service.to_string())
        .await;
}

fn ids(snapshot: &Snapshot) -> Vec<String> {
    let ids = snapshot.instances.iter().map(|it| it.key.id.to_string());
    ids.collect()
}

#[tokio::test]
async fn an_odd_name_is_left_out_and_told_once_and_the_others_are_there_at_once() {
    let agent = Agent::start().await;
    let odd = [
        "two words",
        "a/slash",
        "50%",
        "\"quotes\"",
        "ünïcode",
        "new\nline",
        "question?",
        &"x".repeat(300),
    ];
    for name in odd {
        register(&agent, service(name, name), json!({})).await;
    }
    register(&agent, service("good", "good"), json!({})).await;
    let consul = consul(&agent.address());
    let mut catalog = consul.catalog();
    let known = catalog
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(
        known
            .services
            .keys()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["good"]
    );
    let mut receiver = consul.watch("good");
    seen(&mut receiver, SECOND, |snapshot| ids(snapshot) == ["good"]).await;
    let told = consul.status().left_out;
    assert_eq!(told.len(), odd.len(), "{told:?}");
    assert!(
        told.iter()
            .all(|it| it.service.len() < 120 && !it.service.contains('\n')),
        "{told:?}"
    );
    agent.put("agent/service/deregister/50%25", "").await;
    let begun = tokio::time::Instant::now();
    while consul.status().left_out.len() == odd.len() {
        assert!(
            begun.elapsed() < SECOND * 5,
            "what is gone is no longer told"
        );
        tokio::time::sleep(SECOND / 20).await;
    }
}

#[tokio::test]
async fn an_odd_instance_is_left_out_and_its_siblings_serve() {
    let agent = Agent::start().await;
    for (id, more) in [
        (
            "good",
            json!({"Meta": {"kind": "robot", "lb_policy": "?", "grpc_services": "a b,,/x"}}),
        ),
        ("six", json!({"Address": "::1"})),
        ("named", json!({"Address": "db.local"})),
        ("bare", json!({"Address": ""})),
        (
            "heavy",
            json!({"Weights": {"Passing": 65535, "Warning": 0}}),
        ),
        ("port-0", json!({"Port": 0})),
        ("port-big", json!({"Port": 70000})),
        ("garbage", json!({"Address": "not an address"})),
        ("url", json!({"Address": "http://10.0.0.1"})),
    ] {
        register(&agent, service("shop", id), more).await;
    }
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("shop");
    let snapshot = seen(&mut receiver, SECOND * 5, |snapshot| {
        !snapshot.instances.is_empty()
    })
    .await;
    assert_eq!(ids(&snapshot), ["bare", "good", "heavy", "named", "six"]);
    assert_eq!(snapshot.excluded, 4);
    let good = snapshot
        .instances
        .iter()
        .find(|it| &*it.key.id == "good")
        .unwrap();
    assert_eq!(good.grpc_services(), None);
    let told = consul.status().left_out;
    let mut told: Vec<_> = told.iter().map(|it| it.id.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["garbage", "port-0", "port-big", "url"]);
    drop(receiver);
}

#[tokio::test]
async fn gateways_are_no_instances_and_their_names_no_services() {
    let agent = Agent::start().await;
    register(&agent, service("shop", "shop-1"), json!({})).await;
    for kind in ["mesh-gateway", "terminating-gateway", "ingress-gateway"] {
        register(&agent, service(kind, kind), json!({"Kind": kind})).await;
    }
    // One that has the name of a service.
    register(
        &agent,
        service("shop", "gateway"),
        json!({"Kind": "mesh-gateway"}),
    )
    .await;
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("shop");
    let shop = seen(&mut receiver, SECOND * 5, |snapshot| {
        !snapshot.instances.is_empty()
    })
    .await;
    assert_eq!(ids(&shop), ["shop-1"]);
    assert!(shop.is_service());
    for name in ["mesh-gateway", "ingress-gateway"] {
        let mut receiver = consul.watch(name);
        let found = seen(&mut receiver, SECOND * 5, |_| true).await;
        assert!(
            !found.is_service() && found.instances.is_empty(),
            "{found:?}"
        );
    }
    let mut receiver = consul.watch("nobody");
    let nobody = seen(&mut receiver, SECOND * 5, |_| true).await;
    assert!(nobody.is_service(), "an instance may come yet");
    assert_eq!(consul.status().left_out, []);
}
