//! The instances of one service: which can be used, and who takes the next call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use discovery::Snapshot;
use parking_lot::Mutex;
use telemetry::prometheus_client::metrics::counter::Counter;
use tokio::{sync::watch, time::sleep};

use crate::{
    ClusterOptions, Meta, endpoint::Endpoint, endpoint_set::EndpointSet, orca, queue::Queue,
    retry::Retry, retry_budget::RetryBudget, shared::Shared, snapshot::ClusterSnapshot,
};

/// One service.
pub(crate) struct Cluster {
    pub(crate) service: Arc<str>,
    shared: Arc<Shared>,
    /// Somebody has asked for it since that was last looked at.
    wanted: AtomicBool,
    /// As the settings of the service say now.
    pub(crate) options: Arc<ArcSwap<ClusterOptions>>,
    policy: ArcSwap<&'static balance::PolicyRow>,
    pub(crate) endpoints: Mutex<EndpointSet>,
    /// Made of the endpoints and of what is held against its instances, by who holds the endpoints.
    pub(crate) snapshot: ArcSwap<ClusterSnapshot>,
    pub(crate) queue: Queue,
    /// Endpoints that have been called of late.
    pub(crate) tracked: Mutex<Vec<Arc<Endpoint>>>,
    turn: Arc<balance::TurnCounter>,
    budget: ArcSwap<RetryBudget>,
    /// Whether the policy wants to know what instances report.
    reports: AtomicBool,
    /// Attempts sent.
    pub(crate) picks: Counter,
}

impl Cluster {
    pub(crate) fn new(service: &str, shared: &Arc<Shared>) -> Self {
        let options = shared.service_config.options(service, &Meta::new());
        shared.note_hedging(&options);
        Self {
            service: service.into(),
            shared: Arc::clone(shared),
            wanted: AtomicBool::new(true),
            policy: ArcSwap::from_pointee(balance::DEFAULT),
            endpoints: Mutex::new(EndpointSet::new(service)),
            snapshot: ArcSwap::from_pointee(ClusterSnapshot::unknown(&options)),
            queue: Queue::default(),
            tracked: Mutex::default(),
            // Or many clients that live for one call would all call the first instance. 32 bits, so
            // that it never wraps: an instance is a turn modulo something.
            turn: Arc::new(balance::TurnCounter::starting_at(
                rand::random::<u32>().into(),
            )),
            reports: AtomicBool::new(false),
            picks: shared.metrics.picks(service),
            budget: ArcSwap::from_pointee(budget(&options)),
            options: Arc::new(ArcSwap::new(options)),
        }
    }

    /// Somebody asks for it.
    pub(crate) fn mark_wanted(&self) {
        // Many calls do: the word is written once, not fought for.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Lets go of every instance.
    pub(crate) fn close(&self) {
        *self.endpoints.lock() = EndpointSet::new(&self.service);
        self.tracked.lock().clear();
        let snapshot = ClusterSnapshot::unknown(&self.options.load());
        self.snapshot.store(Arc::new(snapshot));
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn budget(&self) -> arc_swap::Guard<Arc<RetryBudget>> {
        self.budget.load()
    }

    /// Follows the registry and the settings until the service has had no instance for `idle_timeout`
    /// and nobody has asked for it: true then. What is known already is taken over at once, so that
    /// the first call need not wait for a task.
    pub(crate) fn follow(
        self: &Arc<Self>,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> impl Future<Output = bool> + Send + use<> {
        let cluster = Arc::clone(self);
        let mut changes = self.shared.service_config.changes();
        let known = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = known {
            cluster.update(snapshot, true);
        }
        async move {
            loop {
                let empty = cluster.snapshot.load().known && cluster.endpoints.lock().len() == 0;
                let idle = cluster.options.load().idle_timeout;
                let (changed, settings) = tokio::select! {
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
                    cluster.update(snapshot, settings);
                }
            }
        }
    }

    /// Takes over a snapshot, and what the settings say, where they may be others.
    fn update(&self, snapshot: Arc<Snapshot>, settings: bool) {
        let mut endpoints = self.endpoints.lock();
        let meta_changed = endpoints.update(snapshot, |instance, warm| {
            let (instance, shared) = (Arc::clone(instance), &self.shared);
            Arc::new(Endpoint::new(instance, shared, &self.options, warm))
        });
        if meta_changed || settings || !self.snapshot.load().known {
            self.configure(&endpoints.service_meta.meta());
        }
        self.rebuild(&endpoints);
    }

    /// Takes over what the settings say of the service when its instances announce this.
    fn configure(&self, meta: &Meta<'_>) {
        let options = self.shared.service_config.options(&self.service, meta);
        let name = options.lb_policy.as_deref();
        self.policy.store(Arc::new(
            self.policy(name.or(meta.get("lb_policy").copied())),
        ));
        let before = self.options.load();
        if *options == **before {
            return;
        }
        let retries = |o: &ClusterOptions| (o.retry_per_second, o.retry_ratio);
        if retries(&options) != retries(&before) {
            self.budget.store(Arc::new(budget(&options)));
        }
        self.shared.note_hedging(&options);
        self.options.store(options);
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

    /// Makes the snapshot anew: after the registry, an ejection or a connection said something.
    pub(crate) fn rebuild(&self, endpoints: &EndpointSet) {
        let policy = **self.policy.load();
        let reports = policy.name == "load_aware";
        self.reports.store(reports, Ordering::Relaxed);
        let snapshot = ClusterSnapshot::of(
            endpoints,
            &self.shared.service_config.drained(),
            policy,
            &self.options.load(),
            Arc::clone(&self.turn),
        );
        self.shared.metrics.endpoints(
            &self.service,
            snapshot.serving,
            snapshot.usable,
            snapshot.drained,
        );
        self.snapshot.store(Arc::new(snapshot));
        self.queue.wake();
    }

    /// What an instance tells in its trailers, which `field` looks up, goes to the policy if it
    /// wants to know.
    pub(crate) fn report<'a>(&self, endpoint: &Endpoint, field: impl Fn(&str) -> Option<&'a [u8]>) {
        if self.reports.load(Ordering::Relaxed)
            && let Some(report) = orca::read(field)
        {
            endpoint.report(&report);
        }
    }

    /// How long a call waits for one instance before another is asked too; `None` when it may not
    /// run twice, or there is no other. One instance is asked what methods are idempotent.
    pub(crate) fn hedge_delay(&self, method: &str, declared: bool) -> Option<Duration> {
        let options = self.options.load();
        let delay = options.hedge_delay;
        if delay.is_zero() || options.hedge_max < 2 {
            return None;
        }
        let snapshot = self.snapshot.load();
        let [first, _, ..] = &snapshot.members[..] else {
            return None;
        };
        (declared || first.instance.load().is_idempotent(method)).then_some(delay)
    }

    /// Whether the service balances by session, so that a router has to read the session first.
    pub(crate) fn wants_session(&self) -> bool {
        self.snapshot.load().set.policy() == "session"
    }

    /// Whether a call may be sent again after its `number`-th attempt; it is counted if so.
    pub(crate) fn may_retry(
        &self,
        retry: Retry,
        number: usize,
        repeatable: bool,
        idempotent: bool,
        endpoint: &Endpoint,
    ) -> bool {
        if number >= self.options.load().max_attempts || !repeatable {
            return false;
        }
        let reason = match retry {
            Retry::IfUnsent => "unsent",
            Retry::IfIdempotent if idempotent && self.budget().withdraw(self.shared.now()) => {
                "idempotent"
            }
            Retry::IfIdempotent | Retry::Never => return false,
        };
        self.retried(reason, endpoint);
        true
    }

    /// Another attempt is on its way, after or beside this endpoint's.
    pub(crate) fn retried(&self, reason: &'static str, endpoint: &Endpoint) {
        self.shared
            .metrics
            .retried(&self.service, reason, &endpoint.id());
    }
}

fn budget(options: &ClusterOptions) -> RetryBudget {
    RetryBudget::new(options.retry_ratio, options.retry_per_second)
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
