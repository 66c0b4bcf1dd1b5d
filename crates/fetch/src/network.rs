//! Names to addresses to connections: the system's way, and a seam for tests.

use std::{fmt, io, net::IpAddr, net::SocketAddr};

use tokio::net::{TcpStream, lookup_host};

/// What a client does to the network.
#[async_trait::async_trait]
pub trait Network: fmt::Debug + Send + Sync + 'static {
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
}

/// The system's resolver and sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

#[async_trait::async_trait]
impl Network for System {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let found = lookup_host((name, port)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
