//! TLS to the server, where the address asks for it by `sslmode=require`.

use std::{
    fmt, fs, io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};

use crate::Error;

/// Makes TLS connections, with certificates that the system or a file of authorities vouches for.
#[derive(Clone)]
pub(super) struct Tls(tokio_native_tls::TlsConnector);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With the authorities of a PEM file, or those of the system.
    pub(super) fn new(authority: Option<&Path>) -> Result<Self, Error> {
        let mut builder = native_tls::TlsConnector::builder();
        if let Some(path) = authority {
            let failed = |error: &dyn fmt::Display| {
                Error::Invalid(format!("the authorities in {}: {error}", path.display()))
            };
            let pem = fs::read(path).map_err(|error| failed(&error))?;
            let authority =
                native_tls::Certificate::from_pem(&pem).map_err(|error| failed(&error))?;
            builder
                .disable_built_in_roots(true)
                .add_root_certificate(authority);
        }
        let connector = builder.build();
        let connector = connector.map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Self(connector.into()))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = native_tls::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, native_tls::Error> {
        Ok(Handshake {
            connector: self.0.clone(),
            domain: domain.to_owned(),
        })
    }
}

/// One handshake.
pub(super) struct Handshake {
    connector: tokio_native_tls::TlsConnector,
    domain: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = native_tls::Error;
    type Future = BoxFuture<'static, Result<Stream, native_tls::Error>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(&self.domain, socket).await?;
            Ok(Stream(stream))
        })
    }
}

/// A connection over TLS.
pub(super) struct Stream(tokio_native_tls::TlsStream<Socket>);

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        let end_point = self.0.get_ref().tls_server_end_point();
        match end_point.ok().flatten() {
            Some(end_point) => ChannelBinding::tls_server_end_point(end_point),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
