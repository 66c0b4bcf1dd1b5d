//! The connection to a router.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use proto::details::CheckedDetails;
use telemetry::root_cause;
use tokio::time::timeout;
use tonic::{
    Status,
    metadata::MetadataMap,
    transport::{self, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(crate) use dynamic::{INSTANCE, SERVICE};

/// A connection to a router, whose services may answer anything.
pub(crate) type Channel = CheckedDetails<transport::Channel>;

/// A router's port when its address has none.
const PORT: u16 = router::SPEC.default_port;
/// Largest message of an answer that is read, in bytes.
pub(crate) const LARGEST: usize = 4 << 20;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for a sign that it speaks gRPC.
const ANSWER: Duration = Duration::from_secs(5);

/// Which router to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct RouterArgs {
    /// The router's address, or that of a proxy in front of several
    #[arg(
        long,
        value_name = "ADDR",
        env = "MCP_ROUTER_ADDR",
        hide_env_values = true,
        default_value = "127.0.0.1:50051"
    )]
    router: String,
}

impl RouterArgs {
    /// Its address as `host:port`.
    pub(crate) fn address(&self) -> anyhow::Result<String> {
        Ok(dynamic::address(&self.router, PORT)?)
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> anyhow::Result<Channel> {
        connect(&self.address()?).await
    }
}

/// Connects to `host:port`.
pub(crate) async fn connect(address: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address:?} is not an address: write host:port"))?;
    let connected = endpoint.connect_timeout(CONNECT).connect().await;
    let channel = connected.map_err(|error| {
        let cause = root_cause(&error);
        anyhow::anyhow!(
            "no router answers at {address} ({cause}): start a mesh with `meshctl up`, or name \
             another router with --router or MCP_ROUTER_ADDR"
        )
    })?;
    let channel = CheckedDetails(channel);
    // What accepts a connection need not speak gRPC. Every router answers a health check.
    let mut health = HealthClient::new(channel.clone());
    let answer = timeout(ANSWER, health.check(HealthCheckRequest::default())).await;
    let answer = answer.map_err(|_| {
        let secs = ANSWER.as_secs();
        anyhow::anyhow!(
            "{address} accepts connections and has not answered within {secs} s: name a router \
             with --router or MCP_ROUTER_ADDR"
        )
    })?;
    match answer {
        Err(status) if !is_grpc(&status) => anyhow::bail!(
            "what answers at {address} does not speak gRPC ({}): gateways and admin ports speak \
             HTTP. Name a router, port {PORT} by default, with --router or MCP_ROUTER_ADDR",
            said(&status)
        ),
        _ => Ok(channel),
    }
}

/// Whether a status is a gRPC server's own. tonic makes one of other bytes, too.
fn is_grpc(status: &Status) -> bool {
    let invented = [
        "protocol error",
        "grpc-status header missing",
        "compression flag",
    ];
    std::error::Error::source(status).is_none()
        && !invented
            .iter()
            .any(|words| status.message().contains(words))
}

/// What was answered instead, as far as that is known.
fn said(status: &Status) -> String {
    let message = status.message();
    if let Some((_, http)) = message.rsplit_once("with status: ") {
        return format!("it says HTTP {http}");
    }
    std::error::Error::source(status).map_or_else(|| message.to_owned(), root_cause)
}

/// Which instance answered, as the metadata tells.
pub(crate) fn instance(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(INSTANCE)?.to_str().ok()
}
