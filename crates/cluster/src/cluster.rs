//! The endpoints of one service: which of them can be used now.

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
    endpoint_set::EndpointSet,
};

/// One service.
pub struct Cluster<C> {
    service: Arc<str>,
    pub(crate) shared: Arc<Shared>,
    /// Somebody has asked for it since that was last looked at.
    wanted: AtomicBool,
    /// As the service configuration says now.
    options: Arc<ArcSwap<ClusterOptions>>,
    policy: ArcSwap<&'static balance::PolicyRow>,
    pub(crate) endpoints: Mutex<EndpointSet<C>>,
    /// Made of the endpoints and their health, by who holds the endpoints.
    snapshot: ArcSwap<ClusterSnapshot<C>>,
    waiters: Waiters,
    /// Endpoints that have been called of late.
    pub(crate) tracked: Mutex<Vec<Arc<Endpoint<C>>>>,
    turn: Arc<balance::TurnCounter>,
    /// Whether the policy goes by what endpoints report: read for every response.
    wants_reports: AtomicBool,
}

/// One endpoint as the callers in this process see it.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// Which instance.
    pub key: InstanceKey,
    /// Calls of this process that it is working on now.
    pub in_flight: u32,
    /// Whether it can be used.
    pub health: EndpointHealth,
    /// Why it cannot be connected to, where that is so.
    pub reason: Option<String>,
}

impl<C: Connections> Cluster<C> {
    /// A service whose endpoints are not known yet: see [`Cluster::follow`].
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
            // Or many clients that live for one call would all call the first instance. 32 bits, so
            // that it never wraps: an instance is a turn modulo something.
            turn: Arc::new(balance::TurnCounter::starting_at(
                rand::random::<u32>().into(),
            )),
            wants_reports: AtomicBool::new(false),
            options: Arc::new(ArcSwap::new(options)),
        }
    }

    /// Consul service name.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Its limits and times, as they are now.
    #[must_use]
    pub fn options(&self) -> Guard<Arc<ClusterOptions>> {
        self.options.load()
    }

    /// What a pick works on now.
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

    /// Its endpoints, also those that do not serve, ordered by their keys.
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

    /// Somebody asks for it.
    pub fn mark_wanted(&self) {
        // Many calls do: the word is written once, not fought for.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Lets go of every endpoint.
    pub fn close(&self) {
        *self.endpoints.lock() = EndpointSet::new(&self.service);
        self.tracked.lock().clear();
        let snapshot = ClusterSnapshot::unknown(&self.options());
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Follows the registry and the service configuration. It ends with true when the service has had
    /// no instance for `idle_timeout` and nobody has asked for it. What is known already is taken
    /// over at once, so that the first call need not wait for a task.
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

    /// Takes over a snapshot of the registry, and the service configuration where it may have changed.
    fn update(&self, snapshot: Arc<discovery::Snapshot>, reconfigured: bool) {
        let mut endpoints = self.endpoints.lock();
        let meta_changed = endpoints.update(snapshot, |instance, warm| {
            let instance = Arc::clone(instance);
            Arc::new(Endpoint::new(instance, &self.shared, &self.options, warm))
        });
        if meta_changed || reconfigured || !self.snapshot().known {
            self.configure(&endpoints.service_meta.meta());
        }
        self.rebuild(&endpoints);
    }

    /// Takes over what the configuration says of the service when its instances have this Meta.
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

    /// The policy by the configuration, else by what the instances announce, else the default.
    fn policy(&self, name: Option<&str>) -> &'static balance::PolicyRow {
        let Some(name) = name else {
            return balance::DEFAULT;
        };
        balance::find_policy(name).unwrap_or_else(|| {
            tracing::warn!(service = %self.service, policy = name, "unknown balancing policy");
            balance::DEFAULT
        })
    }

    /// Makes the snapshot anew, after membership or health has changed.
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
        self.shared.metrics.endpoints(
            &self.service,
            snapshot.serving,
            snapshot.usable,
            snapshot.drained,
        );
        self.snapshot.store(Arc::new(snapshot));
        self.waiters.notify_all();
    }

    /// Whether the policy goes by the load that endpoints report.
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
