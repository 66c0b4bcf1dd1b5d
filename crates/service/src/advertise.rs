//! The address that an instance advertises.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use discovery::backends::ConsulOptions;
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    Spec,
    config::Config,
    keys::{ListenKeys, RegistryKeys, RegistryKind},
};

/// A documentation address (RFC 5737). Nothing is sent to it: the system only tells which local
/// address would be used.
const UNREACHED: (&str, u16) = ("192.0.2.1", 9);

/// `service_host`; else the address listened on, unless that is all of them; else the local IP on
/// the route to the registry, or on the default route.
pub(crate) async fn address(config: &Config, bound: SocketAddr) -> String {
    if let Some(host) = ListenKeys::from_config(config).service_host {
        return host;
    }
    if !bound.ip().is_unspecified() {
        return bound.ip().to_string();
    }
    let registry = RegistryKeys::from_config(config);
    let consul = match registry.discovery {
        RegistryKind::Fixed | RegistryKind::Memory => return Ipv4Addr::LOCALHOST.to_string(),
        // A pod has one address.
        RegistryKind::Kubernetes => None,
        RegistryKind::Consul => ConsulOptions::at(registry.consul_address())
            .host_and_port()
            .ok(),
    };
    let consul = consul.as_ref().map(|(host, port)| (host.as_str(), *port));
    for target in consul.into_iter().chain([UNREACHED]) {
        if let Some(ip) = own_ip_towards(target).await {
            return ip.to_string();
        }
    }
    Ipv4Addr::LOCALHOST.to_string()
}

/// The ID of an instance: in Kubernetes the pod's name, by which the API server lists it.
pub(crate) fn instance_id(spec: &Spec, config: &Config) -> String {
    let registry = RegistryKeys::from_config(config);
    match registry.discovery {
        RegistryKind::Kubernetes => registry.kubernetes_pod.unwrap_or_else(hostname),
        RegistryKind::Consul | RegistryKind::Fixed | RegistryKind::Memory => {
            spec.instance_id(&hostname())
        }
    }
}

/// The machine's host name, or `host`.
pub(crate) fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "host".to_owned())
}

/// Connecting a UDP socket chooses a local address and sends nothing.
async fn own_ip_towards(target: (&str, u16)) -> Option<IpAddr> {
    let look = async {
        let remote = tokio::net::lookup_host(target).await.ok()?.next()?;
        let any = if remote.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).await.ok()?;
        socket.connect(remote).await.ok()?;
        socket.local_addr().ok()
    };
    let ip = timeout(Duration::from_secs(2), look).await.ok()??.ip();
    (!ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn advertised(set: &[(&str, &str)]) -> String {
        let mut loader = crate::tests::SPEC.loader();
        for (key, value) in set {
            loader = loader.set(key, *value);
        }
        let config = loader.load().unwrap();
        let bound = format!("{}:1", ListenKeys::from_config(&config).listen_address)
            .parse()
            .unwrap();
        address(&config, bound).await
    }

    #[test]
    fn in_kubernetes_an_instance_is_its_pod() {
        let id = |set: &[(&str, &str)]| {
            let loader = set
                .iter()
                .fold(crate::tests::SPEC.loader(), |it, (k, v)| it.set(k, *v));
            instance_id(&crate::tests::SPEC, &loader.load().unwrap())
        };
        let here = ("discovery", "kubernetes");
        assert_eq!(id(&[here, ("kubernetes_pod", "echo-1")]), "echo-1");
        assert_eq!(id(&[here]), hostname());
        assert_ne!(id(&[("kubernetes_pod", "echo-1")]), "echo-1");
    }

    #[tokio::test]
    async fn the_address_is_the_one_that_consul_sees() {
        assert_eq!(advertised(&[("service_host", "echo-1")]).await, "echo-1");
        for consul in ["", "127.0.0.1", "127.0.0.1:8500", "https://127.0.0.1"] {
            let address = advertised(&[("consul_http_addr", consul)]).await;
            assert_eq!(address, "127.0.0.1", "{consul}");
        }
        assert_eq!(
            advertised(&[("listen_address", "127.0.0.9")]).await,
            "127.0.0.9"
        );
    }
}
