//! Carries the gRPC port in place of hyper: a router's own engine, with everything that it does not
//! answer itself behind it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use telemetry::rpc::ServerCalls;
use tokio::{io::DuplexStream, runtime::Handle};

use crate::{access, clients::Clients, connection::ConnectionLimits, server::App};

/// Bytes on the way to or from what is behind the listener, each way.
const PIPE: usize = 64 * 1024;

/// Serves the gRPC port.
pub trait Listener: Send + Sync + 'static {
    /// How many calls are in flight.
    fn active(&self) -> usize;

    /// Stops accepting, announces to every client that we leave, lets calls finish within `limit`,
    /// and answers how many were cut.
    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>>;
}

/// What is behind the listener: health, reflection, `/readyz`, and the routes of the service.
#[derive(Clone)]
pub struct LocalBackend {
    connect: Arc<dyn Fn(DuplexStream) + Send + Sync>,
    /// Where its tasks run, whichever thread connects.
    runtime: Handle,
    /// Where served calls are counted.
    pub calls: ServerCalls,
    /// The limits of clients; they are the listener's to keep.
    pub clients: Arc<Clients>,
    /// Those of each connection.
    pub(crate) limits: ConnectionLimits,
    /// Where calls are written down, if anywhere; by the listener.
    pub access: Option<Arc<access::AccessLog>>,
}

impl LocalBackend {
    pub(crate) fn new(connect: impl Fn(DuplexStream) + Send + Sync + 'static, app: &App) -> Self {
        Self {
            clients: app.clients.clone(),
            limits: app.limits,
            access: app.access.clone(),
            connect: Arc::new(connect),
            runtime: Handle::current(),
            calls: app.calls.clone(),
        }
    }

    /// Opens a connection to it, within this process: cleartext HTTP/2.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let _entered = self.runtime.enter();
        let (ours, theirs) = tokio::io::duplex(PIPE);
        (self.connect)(theirs);
        ours
    }
}

impl std::fmt::Debug for LocalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBackend").finish_non_exhaustive()
    }
}
