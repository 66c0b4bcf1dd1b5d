//! The connection to a router.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tonic::{
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};

/// Names the service a call is for.
pub(crate) const SERVICE: &str = "x-mesh-service";
/// Tells which instance answered.
pub(crate) const INSTANCE: &str = "x-mesh-instance";

/// A router's port when the address has none.
const PORT: u16 = router::SPEC.default_port;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Which router to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct RouterArgs {
    /// The router's address, or that of a proxy in front of several
    #[arg(
        long,
        value_name = "ADDR",
        env = "MCP_ROUTER_ADDR",
        default_value = "127.0.0.1:50051"
    )]
    router: String,
}

impl RouterArgs {
    /// Its address as `host:port`.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        address(&self.router)
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> anyhow::Result<Channel> {
        connect(&self.address()?).await
    }
}

/// Connects to `host:port`.
pub(crate) async fn connect(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address:?} is no address: write host:port"))?;
    let connected = endpoint.connect_timeout(CONNECT).connect().await;
    connected.map_err(|error| {
        let cause = cause(&error);
        anyhow::anyhow!(
            "no router answers at {address} ({cause}): start a mesh with `meshctl up`, or name \
             another router with --router or MCP_ROUTER_ADDR"
        )
    })
}

/// Which instance answered, as the metadata tells.
pub(crate) fn instance(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(INSTANCE)?.to_str().ok()
}

fn address(text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if text.starts_with("https://") {
        bail!("{text}: routers speak gRPC without TLS; write host:port");
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let uri: http::uri::Authority = match authority {
        "" => format!("127.0.0.1:{PORT}").parse()?,
        _ => authority
            .parse()
            .with_context(|| format!("{text:?} is no address: write host:port"))?,
    };
    Ok(match uri.port_u16() {
        Some(_) => uri.to_string(),
        None => format!("{}:{PORT}", uri.host()),
    })
}

/// The innermost reason, since the outer ones say only that it is a transport error.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_come_with_a_scheme_and_without_a_port() {
        for (text, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("http://router:50061/", "router:50061"),
            ("router", "router:50051"),
            ("[::1]", "[::1]:50051"),
            ("", "127.0.0.1:50051"),
        ] {
            assert_eq!(address(text).unwrap(), expected);
        }
        assert!(address("https://router").is_err());
        assert!(address("two words").is_err());
    }
}
