//! The instances of one service: which can be used, and who takes the next call.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use discovery::{Key, Snapshot};
use parking_lot::Mutex;
use telemetry::prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use crate::{
    Meta, Options, backoff,
    budget::Budget,
    endpoint::{Endpoint, Shared},
    orca, probe,
    retry::Retry,
};

/// One service.
pub(crate) struct Fleet {
    pub(crate) service: Arc<str>,
    shared: Arc<Shared>,
    /// As the settings of the service say now.
    pub(crate) options: Arc<ArcSwap<Options>>,
    pub(crate) endpoints: Mutex<HashMap<Key, Arc<Endpoint>>>,
    pub(crate) view: ArcSwap<View>,
    /// The view changed, or there is room for a call.
    pub(crate) changed: Notify,
    /// How many wait for that.
    waiting: AtomicUsize,
    turn: Arc<balance::Turn>,
    budget: ArcSwap<Budget>,
    /// Whether the policy wants to know what instances report.
    reports: AtomicBool,
    /// Attempts sent.
    pub(crate) picks: Counter,
}

/// Somebody who waits for a fleet to change.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a pick works on.
pub(crate) struct View {
    /// Whether the registry has answered.
    pub(crate) known: bool,
    pub(crate) set: balance::Set,
    /// In the order of the set's members.
    pub(crate) members: Vec<Arc<Endpoint>>,
    /// Healthy instances that get no new calls because an operator says so.
    pub(crate) drained: usize,
}

impl View {
    /// Before the registry has answered.
    fn unknown(options: &Options) -> Self {
        let turn = Arc::default();
        Self {
            known: false,
            set: balance::Set::new(Vec::new(), balance::DEFAULT, &options.balance, turn),
            members: Vec::new(),
            drained: 0,
        }
    }
}

impl Fleet {
    pub(crate) fn new(service: &str, shared: &Arc<Shared>) -> Self {
        let options = shared.settings.options(service, &Meta::new());
        shared.note_hedging(&options);
        Self {
            service: service.into(),
            shared: Arc::clone(shared),
            endpoints: Mutex::default(),
            view: ArcSwap::from_pointee(View::unknown(&options)),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            // Or many clients that live for one call would all call the first instance. 32 bits, so
            // that it never wraps: an instance is a turn modulo something.
            turn: Arc::new(balance::Turn::starting_at(rand::random::<u32>().into())),
            reports: AtomicBool::new(false),
            picks: shared.metrics.picks(service),
            budget: ArcSwap::from_pointee(budget(&options)),
            options: Arc::new(ArcSwap::new(options)),
        }
    }

    /// Lets go of every instance.
    pub(crate) fn close(&self) {
        self.endpoints.lock().clear();
        let view = View::unknown(&self.options.load());
        self.view.store(Arc::new(view));
    }

    /// Somebody is about to wait for [`Self::changed`], until this is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // Either who makes room sees us wait, or we see the room.
        fence(Ordering::SeqCst);
        Waiting(&self.waiting)
    }

    /// There may be room for a call. Told with each call's end, so it costs nothing while nobody
    /// waits.
    pub(crate) fn make_room(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn budget(&self) -> arc_swap::Guard<Arc<Budget>> {
        self.budget.load()
    }

    /// Follows the registry and the settings until the mesh shuts down. What is known already is taken over at once,
    /// so that the first call need not wait for a task.
    pub(crate) fn follow(
        self: &Arc<Self>,
        mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let fleet = Arc::clone(self);
        let mut changes = self.shared.settings.changes();
        let look = move |snapshots: &mut watch::Receiver<Option<Arc<Snapshot>>>| {
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                fleet.configure(&snapshot);
                fleet.update(&snapshot);
            }
        };
        look(&mut snapshots);
        async move {
            loop {
                tokio::select! {
                    changed = snapshots.changed() => if changed.is_err() { return },
                    changed = changes.changed() => if changed.is_err() { return },
                }
                look(&mut snapshots);
            }
        }
    }

    /// Takes over what the settings say of the service with these instances.
    fn configure(&self, snapshot: &Snapshot) {
        let mut meta = Meta::new();
        for instance in snapshot.serving() {
            for (key, value) in &instance.meta {
                meta.entry(key).or_insert(value);
            }
        }
        let options = self.shared.settings.options(&self.service, &meta);
        let before = self.options.load();
        if *options == **before {
            return;
        }
        let retries = |o: &Options| (o.retry_per_second, o.retry_ratio);
        if retries(&options) != retries(&before) {
            self.budget.store(Arc::new(budget(&options)));
        }
        self.shared.note_hedging(&options);
        self.options.store(options);
    }

    /// Takes over a snapshot: only what changed is touched, connections of the others stay.
    fn update(&self, snapshot: &Snapshot) {
        let mut endpoints = self.endpoints.lock();
        // Slow start is for an instance that joins warm ones, not for the first sight of a set.
        let warm = endpoints.values().any(|e| e.instance.load().is_serving());
        let mut next = HashMap::with_capacity(snapshot.instances.len());
        for instance in &snapshot.instances {
            let same_place = |e: &Arc<Endpoint>| {
                let old = e.instance.load();
                (&old.host, old.port) == (&instance.host, instance.port)
            };
            let endpoint = match endpoints.get(&instance.key) {
                Some(endpoint) if same_place(endpoint) => {
                    let endpoint = Arc::clone(endpoint);
                    endpoints.remove(&instance.key);
                    let before = endpoint.instance.swap(Arc::clone(instance));
                    if instance.is_serving() && !before.is_serving() {
                        endpoint.forgive();
                    }
                    endpoint
                }
                _ => Arc::new(Endpoint::new(
                    Arc::clone(instance),
                    &self.shared,
                    &self.options,
                    warm,
                )),
            };
            next.insert(instance.key.clone(), endpoint);
        }
        for gone in endpoints.values() {
            gone.gone.cancel();
        }
        *endpoints = next;
        self.rebuild(&endpoints);
    }

    /// Makes the view anew: after the registry, an ejection or a connection said something.
    fn rebuild(&self, endpoints: &HashMap<Key, Arc<Endpoint>>) {
        let options = self.options.load();
        let settings = &self.shared.settings;
        let (drained, mut serving): (Vec<_>, Vec<_>) = endpoints
            .values()
            .filter(|e| e.instance.load().is_serving())
            .cloned()
            .partition(|e| settings.is_drained(&e.instance.load().key.id));
        serving.sort_by(|a, b| a.instance.load().key.cmp(&b.instance.load().key));
        let reachable: Vec<_> = serving
            .iter()
            .filter(|e| e.is_reachable())
            .cloned()
            .collect();
        let usable: Vec<_> = reachable
            .iter()
            .filter(|e| !e.is_ejected())
            .cloned()
            .collect();
        let panics = usable.len() * 100 < options.panic_percent * reachable.len();
        let policy = self.policy(&serving);
        let reports = policy.name == "load_aware";
        self.reports.store(reports, Ordering::Relaxed);
        self.shared
            .metrics
            .endpoints(&self.service, serving.len(), usable.len(), drained.len());
        // Nobody reachable: a call may still wait for a silent one, or for a reconnect.
        let members = if reachable.is_empty() {
            serving
        } else if panics {
            reachable
        } else {
            usable
        };
        let set = balance::Set::new(
            members
                .iter()
                .map(|e| balance::Member {
                    hash: e.hash,
                    weight: e.instance.load().weight,
                    load: Arc::clone(&e.load),
                })
                .collect(),
            policy,
            &options.balance,
            Arc::clone(&self.turn),
        );
        self.view.store(Arc::new(View {
            known: true,
            set,
            members,
            drained: drained.len(),
        }));
        self.changed.notify_waiters();
    }

    /// The policy by the configuration, else by what the instances announce, else the default.
    fn policy(&self, serving: &[Arc<Endpoint>]) -> &'static balance::Row {
        let configured = self.options.load().lb_policy.clone();
        let name = configured.or_else(|| {
            serving
                .iter()
                .find_map(|e| e.instance.load().meta.get("lb_policy").cloned())
        });
        let Some(name) = name else {
            return balance::DEFAULT;
        };
        balance::row(&name).unwrap_or_else(|| {
            tracing::warn!(service = %self.service, policy = name, "unknown balancing policy");
            balance::DEFAULT
        })
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

    /// Whether the only instance there is would be judged: then there is nothing to choose.
    pub(crate) fn is_alone(&self, endpoint: &Endpoint) -> bool {
        let endpoints = self.endpoints.lock();
        let others = |e: &&Arc<Endpoint>| e.instance.load().is_serving();
        endpoints
            .values()
            .filter(others)
            .all(|e| e.number == endpoint.number)
    }

    /// How long a call waits for one instance before another is asked too; `None` when it may not
    /// run twice, or there is no other. One instance is asked what methods are idempotent.
    pub(crate) fn hedge_delay(&self, method: &str, declared: bool) -> Option<Duration> {
        let options = self.options.load();
        let delay = options.hedge_delay;
        if delay.is_zero() || options.hedge_max < 2 {
            return None;
        }
        let view = self.view.load();
        let [first, _, ..] = &view.members[..] else {
            return None;
        };
        (declared || first.instance.load().is_idempotent(method)).then_some(delay)
    }

    /// Whether the service balances by session, so that a router has to read the session first.
    pub(crate) fn wants_session(&self) -> bool {
        self.view.load().set.policy() == "session"
    }

    /// An instance cannot be connected to: others take its calls while it is tried in the
    /// background.
    pub(crate) fn broke(self: &Arc<Self>, endpoint: &Arc<Endpoint>, reason: &str) {
        self.shared
            .metrics
            .unreachable(&self.service, &endpoint.id(), reason);
        self.rebuild(&self.endpoints.lock());
        let (fleet, weak) = (Arc::downgrade(self), Arc::downgrade(endpoint));
        let gone = endpoint.gone.clone();
        self.shared.tracker.spawn(async move {
            gone.run_until_cancelled(reconnect(fleet, weak)).await;
        });
    }

    /// What an attempt came to: enough failures in a row eject the instance.
    pub(crate) fn outcome(&self, endpoint: &Endpoint, failed: bool) {
        if !endpoint.outcome(failed) {
            return;
        }
        let endpoints = self.endpoints.lock();
        if endpoint.is_ejected() {
            return;
        }
        let serving = || {
            endpoints
                .values()
                .filter(|e| e.instance.load().is_serving())
        };
        let ejected = serving().filter(|e| e.is_ejected()).count();
        let allowed = serving().count() * self.options.load().ejection_percent / 100;
        if ejected < allowed.max(1) {
            let time = endpoint.eject();
            self.shared
                .metrics
                .ejected(&self.service, &endpoint.id(), time);
            self.rebuild(&endpoints);
        }
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

    /// A silent instance was found dead, or alive again.
    pub(crate) fn silence_changed(&self, endpoint: &Endpoint, silent: bool) {
        self.shared
            .metrics
            .silent(&self.service, &endpoint.id(), silent);
        self.rebuild(&self.endpoints.lock());
    }

    /// Looks for instances that fell silent and for ejections that are over.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) {
        let endpoints = self.endpoints.lock();
        let mut readmitted = false;
        let (silence, idle) = {
            let options = self.options.load();
            (options.silence, options.idle_timeout)
        };
        for endpoint in endpoints.values() {
            readmitted |= endpoint.readmit(now);
            endpoint.close_idle(idle);
            let silent = endpoint.silence() >= silence;
            if silent && !endpoint.probing.swap(true, Ordering::Relaxed) {
                let (fleet, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
                self.shared.tracker.spawn(async move {
                    let gone = endpoint.gone.clone();
                    let watch = probe::watch(fleet, Arc::clone(&endpoint));
                    gone.run_until_cancelled(watch).await;
                    endpoint.probing.store(false, Ordering::Relaxed);
                });
            }
        }
        if readmitted {
            self.rebuild(&endpoints);
        }
    }
}

fn budget(options: &Options) -> Budget {
    Budget::new(options.retry_ratio, options.retry_per_second)
}

/// Connects again and again, less and less often, until it works or nobody wants it any more.
async fn reconnect(fleet: Weak<Fleet>, endpoint: Weak<Endpoint>) {
    let mut failures = 1;
    loop {
        let Some(options) = fleet.upgrade().map(|f| f.options.load_full()) else {
            return;
        };
        sleep(backoff::pause(
            failures,
            options.backoff_min,
            options.backoff_max,
        ))
        .await;
        let (Some(fleet), Some(endpoint)) = (fleet.upgrade(), endpoint.upgrade()) else {
            return;
        };
        if endpoint.broken().is_none() {
            return;
        }
        if endpoint.reconnect().await.is_ok() {
            fleet.rebuild(&fleet.endpoints.lock());
            return;
        }
        failures += 1;
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
