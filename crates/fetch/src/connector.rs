//! Names to addresses to connections: the system's way, and a seam for tests.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use tokio::net::{TcpStream, lookup_host};

/// What a client does to the network.
#[async_trait::async_trait]
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a name. Asked once a hop.
    ///
    /// # Errors
    /// When nobody knows the name.
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<IpAddr>>;

    /// Connects to an address that was checked.
    ///
    /// # Errors
    /// When nobody answers there.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;

    /// Whether an address is this host's own: what listens there is not of the outside, however
    /// public the address is.
    fn is_own(&self, address: IpAddr) -> bool;
}

/// The system's resolver and sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemConnector;

#[async_trait::async_trait]
impl Connector for SystemConnector {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((name, port)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        if may_bind(documentation(address)) {
            // The system lets us bind what is not ours, so it is asked where packets would go.
            return leads_back(address);
        }
        may_bind(address)
    }
}

/// Only this host's own addresses can be bound; nothing is sent.
fn may_bind(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// An address that is nobody's.
const fn documentation(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    }
}

/// Whether what is sent to an address would come from it. Connecting a UDP socket sends nothing.
fn leads_back(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    from.is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_own_addresses_are_known_and_others_are_not() {
        let is_own = |text: &str| SystemConnector.is_own(text.parse().unwrap());
        assert!(is_own("127.0.0.1") && leads_back(Ipv4Addr::LOCALHOST.into()));
        for address in [
            "192.0.2.1",
            "93.184.215.14",
            "2001:db8::1",
            "2606:2800:21f::1",
        ] {
            assert!(!is_own(address), "{address}");
            assert!(!leads_back(address.parse().unwrap()), "{address}");
        }
        // Whichever address this host would be seen from is its own, where it has one.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(SystemConnector.is_own(socket.local_addr().unwrap().ip()));
        }
    }
}
