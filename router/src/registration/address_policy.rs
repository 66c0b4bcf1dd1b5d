//! Where a service that is registered for another may be.
//!
//! Whoever registers chooses an address that every router then connects to. So it is none that means
//! the router's own machine, none that only this network segment knows, and no router: calls would go
//! round in circles.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use fetch::{AddressClass, classify};
use service::clients::Network;
use tokio::{net::lookup_host, time::timeout};
use tonic::Status;

use super::request::bad;

/// How long a name may take to become an address.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which addresses may be registered.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressPolicy {
    /// This router's own, as it announces it.
    own: Option<SocketAddr>,
    /// Those that the operator allows.
    allowed: Vec<Network>,
}

impl AddressPolicy {
    /// The places for a router that announces `endpoint`; `allowed` may be registered whatever they
    /// are.
    pub(crate) fn new(endpoint: &str, allowed: Vec<Network>) -> Self {
        Self {
            own: endpoint.parse().ok(),
            allowed,
        }
    }

    /// The one address that a host and port mean. A name is looked up here and never again: it might
    /// mean another address afterwards.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the name is none, or its address may not be registered.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<SocketAddr, Status> {
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![(ip, port).into()],
            Err(_) => match timeout(PATIENCE, lookup_host((host, port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            },
        };
        let Some(first) = found.first().copied() else {
            let message = format!("endpoint {host:?} is no name of a host that is known here");
            return Err(bad("endpoint", message));
        };
        for at in found {
            if let Some(why) = self.refusal(at.ip()) {
                let message = format!(
                    "endpoint {host:?} is {} ({why}), which registration_networks does not allow",
                    at.ip()
                );
                return Err(bad("endpoint", message));
            }
            if self.is_own(at) {
                let message = format!("endpoint {at} is this router's own: name the service's");
                return Err(bad("endpoint", message));
            }
        }
        Ok(first)
    }

    /// Why an address may not be registered.
    fn refusal(&self, ip: IpAddr) -> Option<&'static str> {
        if self.allowed.iter().any(|network| network.has(ip)) {
            return None;
        }
        match classify(ip) {
            AddressClass::Public => None,
            AddressClass::Internal("loopback") => {
                // A mesh on one machine is on loopback altogether.
                let own = self.own.is_some_and(|own| own.ip().is_loopback());
                (!own).then_some("loopback")
            }
            AddressClass::Internal(_) => None,
            AddressClass::Forbidden(why) => Some(why),
        }
    }

    fn is_own(&self, at: SocketAddr) -> bool {
        self.own
            .is_some_and(|own| own == at || (own.port() == at.port() && at.ip().is_loopback()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(addresses: &AddressPolicy, host: &str) -> String {
        let refused = addresses.resolve(host, 50052).await;
        refused.expect_err(host).message().to_owned()
    }

    #[tokio::test]
    async fn addresses_of_this_machine_this_segment_and_clouds_are_refused() {
        let addresses = AddressPolicy::new("10.0.0.1:50051", Vec::new());
        for host in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "localhost",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            let message = refused(&addresses, host).await;
            assert!(message.contains("endpoint"), "{host}: {message}");
        }
        for host in [
            "10.0.0.2",
            "192.168.1.1",
            "93.184.215.14",
            "fd12::1",
            "100.64.0.1",
        ] {
            let at = addresses.resolve(host, 50052).await.unwrap();
            assert_eq!(at, SocketAddr::new(host.parse().unwrap(), 50052));
        }
    }

    #[tokio::test]
    async fn a_mesh_on_loopback_takes_loopback_and_the_operator_allows_more() {
        let local = AddressPolicy::new("127.0.0.1:50051", Vec::new());
        assert!(local.resolve("127.0.0.1", 50052).await.is_ok());
        assert!(local.resolve("localhost", 50052).await.is_ok());
        refused(&local, "169.254.169.254").await;
        let network = Network::parse("169.254.7.0/24").unwrap();
        let allowing = AddressPolicy::new("10.0.0.1:50051", vec![network]);
        assert!(allowing.resolve("169.254.7.7", 50052).await.is_ok());
        refused(&allowing, "169.254.169.254").await;
        refused(&allowing, "127.0.0.1").await;
    }

    #[tokio::test]
    async fn a_router_does_not_register_itself() {
        let addresses = AddressPolicy::new("127.0.0.1:50051", Vec::new());
        let own = addresses.resolve("127.0.0.1", 50051).await.unwrap_err();
        assert!(own.message().contains("own"), "{own}");
        let addresses = AddressPolicy::new(
            "10.0.0.1:50051",
            vec![Network::parse("127.0.0.0/8").unwrap()],
        );
        assert!(addresses.resolve("10.0.0.1", 50051).await.is_err());
        assert!(addresses.resolve("127.0.0.1", 50051).await.is_err());
    }
}
