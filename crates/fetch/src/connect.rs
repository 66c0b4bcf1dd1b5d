//! A connection to one of the checked addresses, with TLS for the host's name.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_native_tls::TlsConnector;
use url::Url;

use crate::{Connector, Error};

/// A connection, encrypted or not.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

/// The first address that answers, each given `patience`.
pub(crate) async fn connect(
    url: &Url,
    addresses: &[SocketAddr],
    patience: Duration,
    connector: &dyn Connector,
    tls: &TlsConnector,
) -> Result<Pin<Box<dyn Transport>>, Error> {
    let mut reason = String::new();
    for address in addresses {
        match timeout(patience, open(url, *address, connector, tls)).await {
            Ok(Ok(transport)) => return Ok(transport),
            Ok(Err(error)) => reason = format!("{address}: {error}"),
            Err(_) => reason = format!("{address}: none within {} s", patience.as_secs_f64()),
        }
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    Err(Error::Unreachable { host, reason })
}

async fn open(
    url: &Url,
    address: SocketAddr,
    connector: &dyn Connector,
    tls: &TlsConnector,
) -> Result<Pin<Box<dyn Transport>>, String> {
    let stream = connector
        .connect(address)
        .await
        .map_err(|error| error.to_string())?;
    if url.scheme() != "https" {
        return Ok(Box::pin(stream));
    }
    // The certificate is the name's, whatever the address; brackets are the URL's, not the name's.
    let host = url.host_str().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let stream = tls
        .connect(name, stream)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(Box::pin(stream))
}
