//! The handle through which a program calls the services of the mesh.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use cluster::{
    ClusterOptions, EndpointStatus, FixedServiceConfig, ServiceConfig, Shared, Timestamp,
};
use discovery::Discovery;
use parking_lot::Mutex;
use telemetry::rpc::ClientCalls;
use tokio::time::{Instant, interval};

use crate::{cluster_client::ClusterClient, metrics::ChannelMetrics};

/// How often busy endpoints are checked.
const TICK: Duration = Duration::from_millis(50);

/// Calls services by name, balanced over their healthy instances. Clones share everything. When the
/// last one is dropped, background work ends, and calls in flight finish.
///
/// ```no_run
/// use std::sync::Arc;
/// use mesh_channel::{ClusterOptions, Mesh};
///
/// # #[tokio::main] async fn main() {
/// let registry = Arc::new(discovery::backends::Memory::new());
/// let metrics = telemetry::MetricsRegistry::new();
/// let mesh = Mesh::new(registry, ClusterOptions::default(), &metrics);
/// let echo = mesh.channel("agent-echo");
/// # drop(echo);
/// # }
/// ```
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    discovery: Arc<dyn Discovery>,
    /// The options that belong to no service.
    options: ClusterOptions,
    shared: Arc<Shared>,
    metrics: ChannelMetrics,
    clients: Mutex<HashMap<Arc<str>, Arc<ClusterClient>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
        // A call in flight holds its cluster: only its own connection has to stay open.
        self.clients
            .get_mut()
            .values()
            .for_each(|client| client.cluster.close());
    }
}

/// The service, session or instance that a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Consul service name.
    pub service: Arc<str>,
    /// Hash of the session, for the policy `session`: see [`Target::session`].
    pub session: Option<u64>,
    /// Only the instance with this ID.
    pub instance: Option<Arc<str>>,
}

impl Target {
    /// Any instance of a service.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self {
            service: name.into(),
            session: None,
            instance: None,
        }
    }

    /// The same for a session. With the policy `session` its calls stay with one instance.
    #[must_use]
    pub fn session(mut self, id: &str) -> Self {
        self.session = (!id.is_empty()).then(|| xxhash_rust::xxh3::xxh3_64(id.as_bytes()));
        self
    }

    /// The same, but only this instance.
    #[must_use]
    pub fn instance(mut self, id: &str) -> Self {
        self.instance = Some(id.into());
        self
    }
}

impl Mesh {
    /// A mesh over a registry, with its metrics in `registry`. A service is watched from its first
    /// call on. Needs a tokio runtime.
    #[must_use]
    pub fn new(
        discovery: Arc<dyn Discovery>,
        options: ClusterOptions,
        registry: &telemetry::MetricsRegistry,
    ) -> Self {
        let service_config = Arc::new(FixedServiceConfig::new(options.clone()));
        Self::with_service_config(discovery, options, service_config, registry)
    }

    /// The same, with settings for each service. `options` are for what belongs to no service.
    #[must_use]
    pub fn with_service_config(
        discovery: Arc<dyn Discovery>,
        options: ClusterOptions,
        service_config: Arc<dyn ServiceConfig>,
        registry: &telemetry::MetricsRegistry,
    ) -> Self {
        let metrics = ChannelMetrics::new(registry, options.metrics_instances);
        let shared = Arc::new(Shared::new(service_config));
        let inner = Arc::new(Inner {
            discovery,
            options,
            shared: Arc::clone(&shared),
            metrics,
            clients: Mutex::default(),
        });
        let (scraped, metrics) = (Arc::downgrade(&inner), inner.metrics.clone());
        registry.before_scrape(move || {
            let mesh = scraped.upgrade();
            let clients = mesh.map(|mesh| mesh.clients.lock().values().cloned().collect());
            metrics.collect(&clients.unwrap_or_else(Vec::new));
        });
        // Weak: the task must not keep a mesh alive that its users have dropped.
        let (mesh, shutdown) = (Arc::downgrade(&inner), shared.shutdown.clone());
        shared.tracker.spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
                let Some(mesh) = mesh.upgrade() else { return };
                let clients: Vec<_> = mesh.clients.lock().values().cloned().collect();
                let now = Instant::now();
                clients.iter().for_each(|client| client.cluster.tick(now));
            }
        });
        Self(inner)
    }

    /// The registry of its services.
    #[must_use]
    pub fn discovery(&self) -> &Arc<dyn Discovery> {
        &self.0.discovery
    }

    /// Its limits and timeouts where a service has none of its own.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.0.options
    }

    /// Whether calls to a service are balanced by session, so that the session has to be known
    /// before a pick.
    #[must_use]
    pub fn wants_session(&self, service: &str) -> bool {
        self.client(service).cluster.snapshot().set.wants_session()
    }

    /// Whether [`Mesh::call`] would hedge a call of this method. [`Mesh::pick`] never hedges.
    /// `declared`: the caller says that it may run twice.
    #[must_use]
    pub fn hedges(&self, service: &str, method: &str, declared: bool) -> bool {
        // Most programs do not hedge, and should not pay for it.
        self.0.shared.hedging() && self.client(service).hedge_delay(method, declared).is_some()
    }

    /// A reading of the clock for call attempts.
    #[must_use]
    pub fn timestamp(&self, now: Instant) -> Timestamp {
        self.0.shared.clock.timestamp(now)
    }

    /// IDs of the instances that an operator drains: they get no new calls.
    #[must_use]
    pub fn drained(&self) -> Arc<BTreeSet<String>> {
        self.0.shared.service_config.drained()
    }

    /// Starts watching a service before its first call.
    pub fn prepare(&self, service: &str) {
        self.client(service);
    }

    /// Ends its background tasks and waits for them. Calls in flight finish first.
    pub async fn shutdown(&self) {
        self.0.shared.shutdown.cancel();
        self.0.clients.lock().clear();
        self.0.shared.tracker.close();
        self.0.shared.tracker.wait().await;
    }

    /// The endpoints of a service as this process sees them, ordered by their keys. None for a
    /// service that this process has not called: it does not begin to watch it.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Vec<EndpointStatus> {
        let known = self.0.clients.lock().get(service).cloned();
        known.map_or_else(Vec::new, |client| client.cluster.status())
    }

    /// Counts the calls that this program makes.
    pub(crate) fn client_calls(&self) -> &ClientCalls {
        &self.0.metrics.calls
    }

    pub(crate) fn client(&self, service: &str) -> Arc<ClusterClient> {
        let mut clients = self.0.clients.lock();
        if let Some(client) = clients.get(service) {
            client.cluster.mark_wanted();
            return Arc::clone(client);
        }
        let Inner {
            discovery,
            shared,
            metrics,
            ..
        } = &*self.0;
        let client = Arc::new(ClusterClient::new(service, discovery, shared, metrics));
        let follow = client.cluster.follow(discovery.watch(service));
        let (shutdown, mesh) = (shared.shutdown.clone(), Arc::downgrade(&self.0));
        let name = Arc::clone(client.cluster.service());
        shared.tracker.spawn(async move {
            let deserted = shutdown.run_until_cancelled(follow).await == Some(true);
            if let Some(mesh) = mesh.upgrade().filter(|_| deserted) {
                // A call that still has it finds no instance.
                mesh.clients.lock().remove(&name);
            }
        });
        clients.insert(service.into(), Arc::clone(&client));
        client
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("discovery", &self.0.discovery)
            .finish_non_exhaustive()
    }
}
