//! One HTTP/1 connection.

use std::{path::Path, pin::Pin, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use native_tls::Certificate;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_native_tls::TlsConnector;
use url::{Host, Url};

use crate::router::cause;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What separates the certificates of a PEM file.
const END: &str = "-----END CERTIFICATE-----";

/// Where a gateway is, and how to speak to it.
#[derive(Clone, Debug)]
pub(super) struct GatewayAddress {
    /// `host:port`, IPv6 in brackets.
    pub(super) authority: String,
    /// For `https`.
    tls: Option<Tls>,
}

#[derive(Clone, Debug)]
struct Tls {
    connector: TlsConnector,
    /// The name that the certificate has to have.
    name: String,
}

impl GatewayAddress {
    /// The place that a URL names; `cacert` is a PEM file of authorities beside the system's.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn new(base: &Url, cacert: Option<&Path>) -> anyhow::Result<Self> {
        let host = base.host_str().unwrap_or_default();
        let port = base.port_or_known_default().unwrap_or_default();
        let name = match base.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => host.to_owned(),
        };
        let tls = match base.scheme() {
            "https" => Some(Tls {
                connector: connector(cacert)?,
                name,
            }),
            _ => None,
        };
        let authority = format!("{host}:{port}");
        Ok(Self { authority, tls })
    }
}

fn connector(cacert: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut builder = native_tls::TlsConnector::builder();
    if let Some(path) = cacert {
        let unusable = || format!("--cacert {}", path.display());
        let pem = std::fs::read_to_string(path).with_context(unusable)?;
        let authorities = pem.split_inclusive(END).filter(|it| it.contains(END));
        let mut count = 0;
        for authority in authorities {
            let authority = Certificate::from_pem(authority.as_bytes());
            builder.add_root_certificate(authority.with_context(unusable)?);
            count += 1;
        }
        anyhow::ensure!(count > 0, "{}: holds no certificate in PEM", unusable());
    }
    Ok(builder.build().context("set up TLS")?.into())
}

/// A connection, encrypted or not.
trait Transport: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

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
    /// When nobody answers, or not with the right certificate, with what to do.
    pub(super) async fn open(address: &GatewayAddress) -> anyhow::Result<Self> {
        let GatewayAddress { authority, tls } = address;
        let nobody = |cause: String| {
            anyhow::anyhow!(
                "no gateway answers at {authority} ({cause}): start one with `mesh-gateway`, or name \
                 another with --gateway or MESH_GATEWAY"
            )
        };
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await;
        let connected = connected.map_err(|_| nobody("no connection in 3 s".to_owned()))?;
        let stream = connected.map_err(|error| nobody(error.to_string()))?;
        stream.set_nodelay(true)?;
        let transport: Pin<Box<dyn Transport>> = match tls {
            None => Box::pin(stream),
            Some(Tls { connector, name }) => {
                let shaken = timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await;
                let shaken = shaken.map_err(|_| nobody("no TLS in 3 s".to_owned()))?;
                Box::pin(shaken.map_err(|error| no_tls(authority, &cause(&error)))?)
            }
        };
        let shaken = handshake(TokioIo::new(transport)).await;
        let (sender, connection) = shaken.map_err(|error| nobody(cause(&error)))?;
        let mut driver = JoinSet::new();
        // What it ends with is told to the request that it ends.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self {
            address: authority.clone(),
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

/// Why there is no TLS, and what to do about it.
fn no_tls(address: &str, cause: &str) -> anyhow::Error {
    let hint = match cause {
        cause if cause.contains("certificate") => {
            ": name the authority that signed its certificate with --cacert"
        }
        cause if cause.contains("wrong version") => {
            ": it does not speak TLS, write http:// instead of https://"
        }
        _ => "",
    };
    anyhow::anyhow!("no TLS with the gateway at {address} ({cause}){hint}")
}
