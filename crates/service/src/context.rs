//! What a service is given to build itself from.

use std::{sync::Arc, time::Instant};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Spec, config::Config};

/// One running instance, as its own code sees it.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the program says of itself.
    pub spec: Arc<Spec>,
    /// Consul service ID of this instance.
    pub instance_id: String,
    /// `host:port` as announced.
    pub endpoint: String,
    /// When it started.
    pub started: Instant,
    /// The effective configuration.
    pub config: Arc<Config>,
    /// The registry of instances.
    pub discovery: Arc<dyn discovery::Discovery>,
    /// Where its metrics are registered.
    pub registry: telemetry::Registry,
    /// Owns its background tasks; the drain waits for them after `shutdown`.
    pub tracker: TaskTracker,
    /// Cancelled when the drain begins: stop taking new work on your own account.
    pub draining: CancellationToken,
    /// Cancelled when the last call is over: background tasks end now.
    pub shutdown: CancellationToken,
}
