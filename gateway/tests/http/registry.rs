//! The gateway in a real Consul.

use std::time::Duration;

use testkit::{Consul, local};

#[tokio::test]
async fn consul_asks_it_by_http_and_forgets_it_after_the_drain() {
    let consul = Consul::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (address, path) = (consul.http().to_string(), folder.path().display());
    let set = [
        ("discovery", "consul"),
        ("check_interval", "1s"),
        ("consul_http_addr", address.as_str()),
        ("jobs_path", &path.to_string()),
    ];
    let config = local::config(&gateway::SPEC, &set);
    let registry = service::registry(&config).unwrap();
    let started = service::start(&gateway::SPEC, config, registry, gateway::build);
    let running = started.await.unwrap();
    let ids = consul.wait_passing("mesh-gateway", 1).await;
    assert_eq!(ids, std::slice::from_ref(&running.instance_id));
    testkit::until("Consul has asked", Duration::from_secs(10), async || {
        // The agent's own word: the catalog hears of a new output much later.
        let checks = consul.get("agent/checks").await;
        let check = &checks[format!("service:{}", running.instance_id)];
        let output = check["Output"].as_str().unwrap_or_default().to_owned();
        (check["Status"] == "passing" && output.contains("/readyz: 200")).then_some(())
    })
    .await;
    running.drain().await;
    consul.wait_passing("mesh-gateway", 0).await;
}
