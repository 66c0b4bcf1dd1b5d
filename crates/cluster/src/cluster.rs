//! The endpoints of one service, and which of them can be used now.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::{ArcSwap, Guard};
use discovery::{Instance, InstanceKey};
use parking_lot::Mutex;
use tokio::{sync::watch, time::sleep};

use crate::{
    ClusterOptions, ClusterSnapshot, Connections, Endpoint, EndpointHealth, Meta, Shared, Waiters,
    endpoint_set::EndpointSet, metrics::ClusterCounts,
};

/// One service.
pub struct Cluster<C> {
    service: Arc<str>,
    pub(crate) shared: Arc<Shared>,
    /// Whether it was used since the last check.
    wanted: AtomicBool,
    /// By the present service configuration.
    options: Arc<ArcSwap<ClusterOptions>>,
    policy: ArcSwap<&'static balance::PolicyRow>,
    pub(crate) endpoints: Mutex<EndpointSet<C>>,
    /// Made from the endpoints and their health, while `endpoints` is locked.
    snapshot: ArcSwap<ClusterSnapshot<C>>,
    waiters: Waiters,
    /// Endpoints that were called recently.
    pub(crate) tracked: Mutex<Vec<Arc<Endpoint<C>>>>,
    turn: Arc<balance::TurnCounter>,
    /// Whether the policy uses load reports. It is read for every response.
    wants_reports: AtomicBool,
    /// Whether the registry ever named an instance of it.
    had_instances: AtomicBool,
    pub(crate) counts: ClusterCounts,
}

/// The state of one endpoint for callers in this process.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// The instance.
    pub key: InstanceKey,
    /// This process's calls in flight on it.
    pub in_flight: u32,
    /// Whether it can be used.
    pub health: EndpointHealth,
    /// Why connecting to it fails, if it does.
    pub reason: Option<String>,
}

impl<C: Connections> Cluster<C> {
    /// A service whose endpoints are not known yet. See [`Cluster::follow`].
    #[must_use]
    pub fn new(service: &str, shared: &Arc<Shared>) -> Self {
        let options = shared.service_config.options(service, &Meta::new());
        shared.note_hedging(&options);
        Self {
            service: service.into(),
            shared: Arc::clone(shared),
            wanted: AtomicBool::new(true),
            policy: ArcSwap::from_pointee(balance::DEFAULT),
            endpoints: Mutex::new(EndpointSet::new(service)),
            snapshot: ArcSwap::from_pointee(ClusterSnapshot::unknown(&options)),
            waiters: Waiters::default(),
            tracked: Mutex::default(),
            // Random, or clients that make one call each would all call the first instance. 32
            // bits, so that it never wraps: an instance is a turn modulo their number.
            turn: Arc::new(balance::TurnCounter::starting_at(
                rand::random::<u32>().into(),
            )),
            wants_reports: AtomicBool::new(false),
            had_instances: AtomicBool::new(false),
            counts: ClusterCounts::default(),
            options: Arc::new(ArcSwap::new(options)),
        }
    }

    /// Consul service name.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Whether the registry ever named an instance of it. Its name may be made up otherwise.
    #[must_use]
    pub fn had_instances(&self) -> bool {
        self.had_instances.load(Ordering::Relaxed)
    }

    /// Its present limits and timeouts.
    #[must_use]
    pub fn options(&self) -> Guard<Arc<ClusterOptions>> {
        self.options.load()
    }

    /// The present snapshot, from which a caller picks.
    #[must_use]
    pub fn snapshot(&self) -> Guard<Arc<ClusterSnapshot<C>>> {
        self.snapshot.load()
    }

    /// Calls that wait for one of its endpoints.
    #[must_use]
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The serving endpoint with this instance ID.
    #[must_use]
    pub fn endpoint(&self, id: &str) -> Option<Arc<Endpoint<C>>> {
        self.endpoints.lock().get(id).cloned()
    }

    /// All its endpoints, ordered by their keys. Also those that do not serve.
    #[must_use]
    pub fn status(&self) -> Vec<EndpointStatus> {
        let status = |(instance, endpoint): (&Arc<Instance>, &Arc<Endpoint<C>>)| EndpointStatus {
            key: instance.key.clone(),
            in_flight: endpoint.load().in_flight(),
            health: endpoint.health(),
            reason: endpoint.connect_error(),
        };
        self.endpoints.lock().iter().map(status).collect()
    }

    /// Notes that it is used.
    pub fn mark_wanted(&self) {
        // Every call does this: reading first keeps the word shared between threads.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Drops every endpoint.
    pub fn close(&self) {
        *self.endpoints.lock() = EndpointSet::new(&self.service);
        self.tracked.lock().clear();
        let snapshot = ClusterSnapshot::unknown(&self.options());
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Follows the registry and the service configuration. It ends with true when the service had
    /// no instance for `idle_timeout` and was not used. A known snapshot is applied at once, so
    /// that the first call need not wait for a task.
    pub fn follow(
        self: &Arc<Self>,
        mut snapshots: watch::Receiver<Option<Arc<discovery::Snapshot>>>,
    ) -> impl Future<Output = bool> + Send + use<C> {
        let cluster = Arc::clone(self);
        let mut changes = self.shared.service_config.changes();
        let known = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = known {
            cluster.update(snapshot, true);
        }
        async move {
            loop {
                let empty = cluster.snapshot().known && cluster.endpoints.lock().len() == 0;
                let idle = cluster.options().idle_timeout;
                let (changed, reconfigured) = tokio::select! {
                    changed = snapshots.changed() => (changed, false),
                    changed = changes.changed() => (changed, true),
                    () = sleep(idle), if empty => {
                        if cluster.wanted.swap(false, Ordering::Relaxed) {
                            continue;
                        }
                        return true;
                    }
                };
                if changed.is_err() {
                    return false;
                }
                let known = snapshots.borrow_and_update().clone();
                if let Some(snapshot) = known {
                    cluster.update(snapshot, reconfigured);
                }
            }
        }
    }

    /// Applies a snapshot of the registry, and the service configuration where it may have changed.
    fn update(&self, snapshot: Arc<discovery::Snapshot>, reconfigured: bool) {
        let mut endpoints = self.endpoints.lock();
        let meta_changed = endpoints.update(snapshot, |instance, warm| {
            let instance = Arc::clone(instance);
            Arc::new(Endpoint::new(instance, &self.shared, &self.options, warm))
        });
        if endpoints.len() > 0 {
            self.had_instances.store(true, Ordering::Relaxed);
        }
        if meta_changed || reconfigured || !self.snapshot().known {
            self.configure(&endpoints.service_meta.meta());
        }
        self.rebuild(&endpoints);
    }

    /// Applies the service's configuration for this Meta of its instances.
    fn configure(&self, meta: &Meta<'_>) {
        let options = self.shared.service_config.options(&self.service, meta);
        let name = options.lb_policy.as_deref();
        let policy = self.policy(name.or(meta.get("lb_policy").copied()));
        self.policy.store(Arc::new(policy));
        if *options != **self.options() {
            self.shared.note_hedging(&options);
            self.options.store(options);
        }
    }

    /// The policy of this name. An unknown one is the default.
    fn policy(&self, name: Option<&str>) -> &'static balance::PolicyRow {
        let Some(name) = name else {
            return balance::DEFAULT;
        };
        balance::find_policy(name).unwrap_or_else(|| {
            tracing::warn!(service = %self.service, policy = name, "unknown balancing policy");
            balance::DEFAULT
        })
    }

    /// Makes a new snapshot after a change of membership or health.
    pub(crate) fn rebuild(&self, endpoints: &EndpointSet<C>) {
        let policy = **self.policy.load();
        self.wants_reports
            .store(policy.wants_reports, Ordering::Relaxed);
        let snapshot = ClusterSnapshot::of(
            endpoints,
            &self.shared.service_config.drained(),
            policy,
            &self.options(),
            Arc::clone(&self.turn),
        );
        self.snapshot.store(Arc::new(snapshot));
        self.waiters.notify_all();
    }

    /// Whether the policy uses load reports.
    #[must_use]
    pub fn wants_reports(&self) -> bool {
        self.wants_reports.load(Ordering::Relaxed)
    }
}

impl<C> std::fmt::Debug for Cluster<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
