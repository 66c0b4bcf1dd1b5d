//! A registry for one machine: the part of Consul's HTTP API that the programs of the mesh and the
//! guides' `curl` lines use, in memory.
//!
//! `meshctl up` starts it where no Consul is: programs register here as they would with Consul. There is
//! one node, no DNS, no ACLs, no web UI and no other servers. It forgets everything when it ends, as
//! `consul agent -dev` does.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8500").await?;
//! let registry = mesh_registry::RegistryServer::start(listener, "localhost");
//! // curl -X PUT 127.0.0.1:8500/v1/agent/service/register -d '{"Name": "shop", "Port": 9000}'
//! registry.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`state`] holds the registrations and gives every change an index. [`api`] turns requests into reads and
//! changes, and lets blocking queries wait. [`serve`] serves connections, and [`checks`] runs the checks.

mod api;
mod checks;
mod definition;
mod serve;
mod shared;
mod state;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{checks::Checks, shared::Shared};

/// A registry that serves. Dropping it ends it at once.
#[derive(Debug)]
pub struct RegistryServer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl RegistryServer {
    /// Serves on a listener, which should be on the loopback interface: every client may change
    /// everything. `node` is the name of the only node.
    ///
    /// # Panics
    /// When the listener has no address, which one that is bound has.
    #[must_use]
    pub fn start(listener: TcpListener, node: &str) -> Self {
        let address = listener.local_addr().expect("a bound listener");
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared::new(node));
        let mut tasks = JoinSet::new();
        let checks = Checks::new(Arc::clone(&shared));
        tasks.spawn(checks.run(stop.clone()));
        let app = api::router(shared, stop.clone());
        tasks.spawn(serve::run(listener, app, stop.clone()));
        Self {
            address,
            stop,
            tasks,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: closes the port, answers blocking queries, and cuts what is left after a second.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
