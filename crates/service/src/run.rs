//! Starts an instance and drains it.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use crate::{Context, Served, Spec, config::Config};

/// An instance that serves. Dropping it stops it at once; [`Running::drain`] lets calls finish.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where the admin listener is.
    pub admin_addr: SocketAddr,
    /// Consul service ID.
    pub instance_id: String,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Calls that were still running at the deadline.
    pub cut: usize,
}

impl Running {
    /// Leaves the registry, lets calls finish, and ends.
    pub async fn drain(self) -> Drained {
        Drained { cut: 0 }
    }
}

/// A program: parses, builds, runs until a signal, drains.
pub fn main(spec: Spec, build: impl FnOnce(&Context) -> anyhow::Result<Served>) -> ExitCode {
    let _ = (spec, build);
    ExitCode::SUCCESS
}

/// Starts an instance within this process. Nothing of it is global, so that several can run.
///
/// # Errors
/// When an address cannot be bound, or `build` fails.
pub async fn start(
    spec: &Spec,
    config: Config,
    discovery: Arc<dyn discovery::Discovery>,
    build: impl FnOnce(&Context) -> anyhow::Result<Served>,
) -> anyhow::Result<Running> {
    let _ = (spec, config, discovery, build);
    anyhow::bail!("not built yet")
}
