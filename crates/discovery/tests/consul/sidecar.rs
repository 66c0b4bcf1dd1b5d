//! Proxies that Consul registers by itself beside a service.

use serde_json::json;

use crate::support::{SECOND, agent::Agent, consul, seen};

/// A sidecar inherits the tags and the Meta of its service.
#[tokio::test]
async fn a_sidecar_is_no_instance_and_its_name_no_service() {
    let agent = Agent::start().await;
    let body = json!({
        "Name": "shop", "ID": "shop-1", "Address": "127.0.0.1", "Port": 1, "Tags": ["grpc"],
        "Connect": {"SidecarService": {"Address": "127.0.0.1", "Port": 2}},
    });
    agent.put("agent/service/register", &body.to_string()).await;
    let consul = consul(&agent.address());
    let mut receiver = consul.watch("shop");
    let shop = seen(&mut receiver, SECOND * 5, |snapshot| {
        !snapshot.instances.is_empty()
    })
    .await;
    assert_eq!((shop.instances.len(), shop.is_service()), (1, true));
    assert_eq!(&*shop.instances[0].key.id, "shop-1");
    let mut receiver = consul.watch("shop-sidecar-proxy");
    let sidecar = seen(&mut receiver, SECOND * 5, |_| true).await;
    assert!(
        !sidecar.is_service() && sidecar.instances.is_empty(),
        "{sidecar:?}"
    );
    assert_eq!(consul.status().left_out, []);
}
