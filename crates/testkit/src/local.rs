//! Services of the mesh within the test's own process: on ports of the system's choice, and known
//! to a registry in memory.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use discovery::{Check, Registration, backends::Memory};
use service::{Config, Context, ServerHandle, Services, Spec};
use tonic::transport::Channel;

/// A service's configuration on this machine alone, without a wait in its drain, and with `set`.
#[must_use]
pub fn config(spec: &Spec, set: &[(&str, &str)]) -> Config {
    let local = [
        ("port", "0"),
        ("listen_address", "127.0.0.1"),
        ("admin_address", "127.0.0.1"),
        ("discovery", "memory"),
        ("drain_delay", "0s"),
    ];
    let all = local.iter().chain(set);
    let loader = all.fold(spec.loader(), |loader, (key, value)| {
        loader.set(key, *value)
    });
    loader.load().expect("a configuration that loads")
}

/// Starts a service so configured, and has it known to `registry`.
pub async fn start(
    spec: &Spec,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
    registry: &Arc<Memory>,
    set: &[(&str, &str)],
) -> ServerHandle {
    let config = config(spec, set);
    let started = Box::pin(service::start(spec, config, registry.clone(), build)).await;
    let running = started.expect("a service that starts");
    running.registered().await;
    running
}

/// Starts a service that is alone in its mesh, and connects to it.
pub async fn start_alone(
    spec: &Spec,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
    set: &[(&str, &str)],
) -> (ServerHandle, Channel) {
    let running = start(spec, build, &Arc::new(Memory::new()), set).await;
    let channel = connect(&running).await;
    (running, channel)
}

/// What the registry is told of an instance that the test itself serves: no tags, no Meta.
#[must_use]
pub fn registration(id: &str, service: &str, address: SocketAddr) -> Registration {
    Registration {
        id: id.to_owned(),
        service: service.to_owned(),
        host: address.ip().to_string(),
        port: address.port(),
        tags: Vec::new(),
        meta: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        check: Check::Tcp,
        check_interval: Duration::from_secs(10),
        deregister_after: Duration::from_secs(60),
    }
}

/// A connection to a service's gRPC port.
pub async fn connect(running: &ServerHandle) -> Channel {
    let url = format!("http://{}", running.grpc_addr);
    let channel = Channel::from_shared(url).expect("an address is a URL");
    channel.connect().await.expect("a port that is served")
}
