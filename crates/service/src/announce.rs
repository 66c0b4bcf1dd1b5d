//! Under which address an instance is known to others.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use crate::{config::Config, registration::consul_address};

/// An address of the Internet: nothing is sent to it, the system only says which of our own
/// addresses it would be reached from.
const AWAY: &str = "192.0.2.1:9";

/// `service_host`; else the one address listened on; else this host's own IP on the way to the
/// registry, or to anywhere while the registry's name does not resolve.
pub(crate) async fn host(config: &Config, bound: SocketAddr) -> String {
    if let Some(host) = config.optional("service_host") {
        return host.to_owned();
    }
    if !bound.ip().is_unspecified() {
        return bound.ip().to_string();
    }
    if config.text("discovery") != "consul" {
        return Ipv4Addr::LOCALHOST.to_string();
    }
    for target in [consul_authority(config).as_str(), AWAY] {
        if let Some(ip) = own_ip_towards(target).await {
            return ip.to_string();
        }
    }
    Ipv4Addr::LOCALHOST.to_string()
}

/// The machine's name, as far as it is known.
pub(crate) fn machine() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "host".to_owned())
}

/// Without scheme and path, with a port.
fn consul_authority(config: &Config) -> String {
    let address = consul_address(config);
    let rest = address
        .split_once("://")
        .map_or(address.as_str(), |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:8500")
    }
}

/// Connecting a UDP socket sends nothing, and chooses the address to send from.
async fn own_ip_towards(target: &str) -> Option<IpAddr> {
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
    use crate::config::Loader;

    async fn announced(set: &[(&str, &str)]) -> String {
        let mut loader = Loader::new(crate::tests::SPEC.all_keys());
        for (key, value) in set {
            loader = loader.set(key, *value);
        }
        let config = loader.load().unwrap();
        let bound = format!("{}:1", config.text("listen_address"))
            .parse()
            .unwrap();
        host(&config, bound).await
    }

    #[tokio::test]
    async fn the_address_is_the_one_that_consul_sees() {
        assert_eq!(announced(&[("service_host", "echo-1")]).await, "echo-1");
        assert_eq!(
            announced(&[("consul_http_addr", "http://127.0.0.1:8500")]).await,
            "127.0.0.1"
        );
        assert_eq!(
            announced(&[("listen_address", "127.0.0.9")]).await,
            "127.0.0.9"
        );
    }

    #[test]
    fn consul_is_found_with_and_without_a_scheme() {
        for (address, authority) in [
            ("https://consul:8501", "consul:8501"),
            ("http://consul", "consul:8500"),
            ("consul:8500", "consul:8500"),
            ("", "127.0.0.1:8500"),
        ] {
            let loader = Loader::new(crate::tests::SPEC.all_keys());
            let config = loader.set("consul_http_addr", address).load().unwrap();
            assert_eq!(consul_authority(&config), authority);
        }
    }
}
