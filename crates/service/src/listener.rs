//! A program's own listener on its port, such as the router's relay engine or the ports of an HTTP
//! program, and the local backend behind it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use telemetry::rpc::ServerCalls;
use tokio::{io::DuplexStream, runtime::Handle};

use crate::{call_log::CallLog, clients::Clients, port::Port};

/// Bytes in flight to or from the local backend, each way.
const PIPE: usize = 64 * 1024;

/// Serves a program's port in place of the chassis.
pub trait Listener: Send + Sync + 'static {
    /// How many calls are in flight.
    fn active(&self) -> usize;

    /// Stops accepting, tells clients to use another connection (GOAWAY), lets calls finish within
    /// `limit`, and returns how many were cut.
    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>>;
}

/// What answers the calls that a listener does not: health, reflection, `/readyz` and the service's
/// own routes.
#[derive(Clone)]
pub struct LocalBackend {
    connect: Arc<dyn Fn(DuplexStream) + Send + Sync>,
    /// Where its tasks run.
    runtime: Handle,
    /// The metrics of served calls.
    pub calls: ServerCalls,
    /// The limits of clients, which the listener has to enforce.
    pub clients: Arc<Clients>,
    /// The limits of connections.
    pub(crate) port: Port,
    /// Where the listener has to write calls down.
    pub call_log: CallLog,
}

impl LocalBackend {
    pub(crate) fn new(
        connect: impl Fn(DuplexStream) + Send + Sync + 'static,
        port: &Port,
        calls: ServerCalls,
        call_log: CallLog,
    ) -> Self {
        Self {
            clients: Arc::clone(port.clients()),
            port: port.clone(),
            call_log,
            connect: Arc::new(connect),
            runtime: Handle::current(),
            calls,
        }
    }

    /// Opens an in-process connection to it, which speaks HTTP/2 in cleartext.
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
