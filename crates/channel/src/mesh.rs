//! The handle through which a program calls the services of the mesh.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, atomic::Ordering},
};

use discovery::Discovery;
use parking_lot::Mutex;
use tokio::time::{Instant, interval};

use crate::{
    Channel, ClusterMetrics, ClusterOptions, ServiceConfig, Timestamp, cluster::Cluster, probe,
    service_config::FixedServiceConfig, shared::Shared,
};

/// Calls services by name, balanced over their healthy instances. Clones share everything; when the
/// last one is dropped, background work ends and calls in flight go on to their end.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    discovery: Arc<dyn Discovery>,
    shared: Arc<Shared>,
    clusters: Mutex<HashMap<Arc<str>, Arc<Cluster>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.shutdown.cancel();
        // A call in flight holds its cluster: only its own connection has to stay open for it.
        self.clusters
            .get_mut()
            .values()
            .for_each(|cluster| cluster.close());
    }
}

/// Whom a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Consul service name.
    pub service: Arc<str>,
    /// Hash of the session, for the `session` policy: see [`Target::session`].
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

    /// The same, for a session: with the policy `session` its calls stay with one instance.
    #[must_use]
    pub fn session(mut self, id: &str) -> Self {
        self.session = (!id.is_empty()).then(|| xxhash_rust::xxh3::xxh3_64(id.as_bytes()));
        self
    }

    /// The same, for one instance only.
    #[must_use]
    pub fn instance(mut self, id: &str) -> Self {
        self.instance = Some(id.into());
        self
    }
}

impl Mesh {
    /// A mesh over a registry, with its metrics registered with `registry`. Services are watched
    /// from the first call on; must be made inside a tokio runtime.
    #[must_use]
    pub fn new(
        discovery: Arc<dyn Discovery>,
        options: ClusterOptions,
        registry: &telemetry::MetricsRegistry,
    ) -> Self {
        let service_config = Arc::new(FixedServiceConfig::new(options.clone()));
        Self::with_service_config(discovery, options, service_config, registry)
    }

    /// The same, with settings for each service; `options` are for what belongs to none.
    #[must_use]
    pub fn with_service_config(
        discovery: Arc<dyn Discovery>,
        options: ClusterOptions,
        service_config: Arc<dyn ServiceConfig>,
        registry: &telemetry::MetricsRegistry,
    ) -> Self {
        let metrics = ClusterMetrics::new(registry);
        let shared = Arc::new(Shared::new(
            options,
            service_config,
            Arc::clone(&discovery),
            metrics,
        ));
        let inner = Arc::new(Inner {
            discovery,
            shared: Arc::clone(&shared),
            clusters: Mutex::default(),
        });
        // Weak: nobody's task may keep a mesh alive that its users have dropped.
        let (mesh, shutdown) = (Arc::downgrade(&inner), shared.shutdown.clone());
        shared.tracker.spawn(async move {
            let mut ticks = interval(probe::TICK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
                let Some(mesh) = mesh.upgrade() else { return };
                let clusters: Vec<_> = mesh.clusters.lock().values().cloned().collect();
                let now = Instant::now();
                clusters.iter().for_each(|cluster| cluster.tick(now));
            }
        });
        Self(inner)
    }

    /// The registry it looks services up in.
    #[must_use]
    pub fn discovery(&self) -> &Arc<dyn Discovery> {
        &self.0.discovery
    }

    /// Its limits and times, where no service has its own: [`Mesh::options_of`].
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.0.shared.options
    }

    /// The limits and times of calls to a service, as they are now.
    #[must_use]
    pub fn options_of(&self, service: &str) -> Arc<ClusterOptions> {
        self.cluster(service).options.load_full()
    }

    /// A client for one service: the `T` of tonic's generated clients.
    #[must_use]
    pub fn channel(&self, service: &str) -> Channel {
        Channel::new(self.clone(), Target::service(service))
    }

    /// Whether calls of a service are balanced by their session, so that it has to be known before
    /// an instance is picked.
    #[must_use]
    pub fn wants_session(&self, service: &str) -> bool {
        self.cluster(service).wants_session()
    }

    /// Whether [`Mesh::call`] would send a call of this method to a second instance when the first
    /// takes long; a [`Mesh::pick`] is for one instance. `declared`: the caller says that it may
    /// run twice.
    #[must_use]
    pub fn hedges(&self, service: &str, method: &str, declared: bool) -> bool {
        // Most programs hedge nothing, which should cost nothing.
        self.0.shared.hedging.load(Ordering::Relaxed)
            && self
                .cluster(service)
                .hedge_delay(method, declared)
                .is_some()
    }

    /// A reading of the clock, as calls that are carried elsewhere need it.
    #[must_use]
    pub fn timestamp(&self, now: Instant) -> Timestamp {
        self.0.shared.timestamp(now)
    }

    /// IDs of the instances that get no new calls because an operator says so.
    #[must_use]
    pub fn drained(&self) -> Arc<BTreeSet<String>> {
        self.0.shared.service_config.drained()
    }

    /// Starts watching a service before its first call.
    pub fn prepare(&self, service: &str) {
        self.cluster(service);
    }

    /// Ends its background tasks and waits for them; calls in flight go on to their end first.
    pub async fn shutdown(&self) {
        self.0.shared.shutdown.cancel();
        self.0.clusters.lock().clear();
        self.0.shared.tracker.close();
        self.0.shared.tracker.wait().await;
    }

    /// The cluster of a service that somebody has called.
    pub(crate) fn known_cluster(&self, service: &str) -> Option<Arc<Cluster>> {
        self.0.clusters.lock().get(service).cloned()
    }

    pub(crate) fn cluster(&self, service: &str) -> Arc<Cluster> {
        let mut clusters = self.0.clusters.lock();
        if let Some(cluster) = clusters.get(service) {
            cluster.mark_wanted();
            return Arc::clone(cluster);
        }
        let shared = &self.0.shared;
        let cluster = Arc::new(Cluster::new(service, shared));
        let follow = cluster.follow(self.0.discovery.watch(service));
        let (shutdown, mesh) = (shared.shutdown.clone(), Arc::downgrade(&self.0));
        let name = Arc::clone(&cluster.service);
        shared.tracker.spawn(async move {
            let deserted = shutdown.run_until_cancelled(follow).await == Some(true);
            if let Some(mesh) = mesh.upgrade().filter(|_| deserted) {
                // A call that has it still learns that there is no instance.
                mesh.clusters.lock().remove(&name);
            }
        });
        clusters.insert(service.into(), Arc::clone(&cluster));
        cluster
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("discovery", &self.0.discovery)
            .finish_non_exhaustive()
    }
}
