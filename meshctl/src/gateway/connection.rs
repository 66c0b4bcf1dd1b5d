//! One HTTP/1 connection.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::router::cause;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection, with the task that drives it, which ends with it.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, with what to do.
    pub(super) async fn open(address: &str) -> anyhow::Result<Self> {
        let nobody = |cause: String| {
            anyhow::anyhow!(
                "no gateway answers at {address} ({cause}): start one with `mesh-gateway`, or name \
                 another with --gateway or MESH_GATEWAY"
            )
        };
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        let connected = connected.map_err(|_| nobody("no connection in 3 s".to_owned()))?;
        let stream = connected.map_err(|error| nobody(error.to_string()))?;
        stream.set_nodelay(true)?;
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| nobody(cause(&error)))?;
        let mut driver = JoinSet::new();
        // What it ends with is told to the request that it ends.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self {
            address: address.to_owned(),
            sender,
            _driver: driver,
        })
    }

    /// Whether it takes another request.
    pub(super) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and returns when the head of the answer is there.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Response<Incoming>> {
        let sent = self.sender.send_request(request).await;
        sent.map_err(|error| anyhow::anyhow!(cause(&error)))
            .with_context(|| {
                let address = &self.address;
                format!(
                    "{address} ended the connection, and may or may not have done what it was asked \
                     (does it speak HTTP? A gateway is named with --gateway or MESH_GATEWAY)"
                )
            })
    }
}
