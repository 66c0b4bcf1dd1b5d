//! The instances of one service: which can be used, and who takes the next call.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::Ordering},
};

use arc_swap::ArcSwap;
use discovery::{Discovery, Instance, Key, Snapshot};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tower::retry::budget::TpsBudget;

use crate::{
    Error, Target, backoff,
    connection::Slot,
    endpoint::{Endpoint, Refusal, Shared},
    probe,
};

/// One service.
pub(crate) struct Fleet {
    service: Arc<str>,
    shared: Arc<Shared>,
    snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    endpoints: Mutex<HashMap<Key, Arc<Endpoint>>>,
    view: ArcSwap<View>,
    /// The view changed, or a call ended.
    changed: Notify,
    turn: Arc<balance::Turn>,
    budget: TpsBudget,
}

/// What a pick works on.
struct View {
    /// Empty until the registry has answered.
    known: bool,
    set: balance::Set,
    /// In the order of the set's members.
    members: Vec<Arc<Endpoint>>,
}

/// A call in flight on an instance: counted until dropped, wherever the call ends.
pub(crate) struct Flight {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) slot: Slot,
    _count: Count,
}

struct Count {
    fleet: Arc<Fleet>,
    endpoint: Arc<Endpoint>,
}

impl Fleet {
    pub(crate) fn new(service: &str, discovery: &dyn Discovery, shared: &Arc<Shared>) -> Arc<Self> {
        let options = &shared.options;
        let turn = Arc::new(balance::Turn::default());
        let view = View {
            known: false,
            set: balance::Set::new(Vec::new(), balance::DEFAULT, &options.balance, turn.clone()),
            members: Vec::new(),
        };
        Arc::new(Self {
            service: service.into(),
            shared: Arc::clone(shared),
            snapshot: discovery.watch(service),
            endpoints: Mutex::default(),
            view: ArcSwap::from_pointee(view),
            changed: Notify::new(),
            turn,
            budget: TpsBudget::new(
                std::time::Duration::from_secs(10),
                // The library takes whole retries per second, and a ratio.
                options.retry_per_second.max(0.0) as u32,
                options.retry_ratio.max(0.0) as f32,
            ),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn budget(&self) -> &TpsBudget {
        &self.budget
    }

    /// Follows the registry until the mesh shuts down.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut snapshots = self.snapshot.clone();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(snapshot) = snapshot {
                self.update(&snapshot);
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes over a snapshot: only what changed is touched, connections of the others stay.
    fn update(self: &Arc<Self>, snapshot: &Snapshot) {
        let mut endpoints = self.endpoints.lock();
        // Slow start is for an instance that joins warm ones, not for the first sight of a set.
        let warm = endpoints.values().any(|e| e.instance.load().is_serving());
        let mut next = HashMap::with_capacity(snapshot.instances.len());
        for instance in &snapshot.instances {
            let kept = endpoints.remove(&instance.key).filter(|e| {
                let old = e.instance.load();
                (&old.host, old.port) == (&instance.host, instance.port)
            });
            let endpoint = match kept {
                Some(endpoint) => {
                    let before = endpoint.instance.swap(Arc::clone(instance));
                    if instance.is_serving() && !before.is_serving() {
                        endpoint.forgive();
                    }
                    endpoint
                }
                None => Arc::new(Endpoint::new(Arc::clone(instance), &self.shared, warm)),
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
        let options = &self.shared.options;
        let mut serving: Vec<_> = endpoints
            .values()
            .filter(|e| e.instance.load().is_serving())
            .cloned()
            .collect();
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
        self.shared
            .metrics
            .endpoints(&self.service, serving.len(), usable.len());
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
        }));
        self.changed.notify_waiters();
    }

    /// The policy by the configuration, else by what the instances announce, else the default.
    fn policy(&self, serving: &[Arc<Endpoint>]) -> &'static balance::Row {
        let configured = self.shared.options.policies.get(&*self.service).cloned();
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

    /// Whether the service balances by session, so that a router has to read the session first.
    pub(crate) fn wants_session(&self) -> bool {
        self.view.load().set.policy() == "session"
    }

    /// Someone to send a call to, with a place on a connection. `tried` are avoided while another
    /// can take it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
        deadline: Option<Instant>,
    ) -> Result<Flight, Error> {
        let began = Instant::now();
        let patience = began + self.shared.options.queue_timeout;
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that a change in between is not missed.
            changed.as_mut().enable();
            let error = match self.try_acquire(target, tried, began).await {
                Ok(flight) => return Ok(flight),
                Err(error) => error,
            };
            let waits = matches!(
                error,
                Error::Undiscovered(_) | Error::Unreachable { .. } | Error::Saturated { .. }
            );
            if !waits || timeout_at(until, changed).await.is_err() {
                return Err(error);
            }
        }
    }

    async fn try_acquire(
        self: &Arc<Self>,
        target: &Target,
        tried: &[Arc<Endpoint>],
        began: Instant,
    ) -> Result<Flight, Error> {
        let view = self.view.load_full();
        if !view.known {
            return Err(Error::Undiscovered(began.elapsed()));
        }
        if let Some(id) = &target.instance {
            return self.try_pinned(id, began).await;
        }
        if view.members.is_empty() {
            return Err(Error::NoInstance {
                service: self.service.to_string(),
            });
        }
        let mut exclude: Vec<usize> = (tried.len() < view.members.len())
            .then(|| index_of(&view.members, tried))
            .unwrap_or_default();
        let mut refused: Vec<usize> = Vec::new();
        let mut last = None;
        let request = balance::Request {
            session: target.session,
            now: self.shared.now(),
        };
        loop {
            let Some(index) = view.set.pick(&request, &mut rand::rng(), &exclude) else {
                if exclude.len() > refused.len() {
                    // Those tried before are better than nobody.
                    exclude.clone_from(&refused);
                    continue;
                }
                return Err(last.unwrap_or_else(|| self.unreachable(began, String::new())));
            };
            match self.try_endpoint(&view.members[index], began).await {
                Ok(flight) => return Ok(flight),
                Err(error) => last = Some(error),
            }
            exclude.push(index);
            refused.push(index);
        }
    }

    async fn try_pinned(self: &Arc<Self>, id: &str, began: Instant) -> Result<Flight, Error> {
        let found = self
            .endpoints
            .lock()
            .values()
            .find(|e| {
                let instance = e.instance.load();
                &*instance.key.id == id && instance.is_serving()
            })
            .cloned();
        let endpoint = found.ok_or_else(|| Error::NoSuchInstance {
            service: self.service.to_string(),
            instance: id.to_owned(),
        })?;
        self.try_endpoint(&endpoint, began).await
    }

    async fn try_endpoint(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        began: Instant,
    ) -> Result<Flight, Error> {
        // Counted before anything is awaited, so that the next pick sees it.
        endpoint.begin();
        let count = Count {
            fleet: Arc::clone(self),
            endpoint: Arc::clone(endpoint),
        };
        let limit = self.shared.options.max_in_flight;
        if endpoint.load.in_flight() > limit {
            return Err(self.saturated("max_in_flight", limit, began));
        }
        if let Some(slot) = endpoint.reserve() {
            return Ok(Flight {
                endpoint: Arc::clone(endpoint),
                slot,
                _count: count,
            });
        }
        match self.open(endpoint).await {
            Some(Ok(slot)) => Ok(Flight {
                endpoint: Arc::clone(endpoint),
                slot,
                _count: count,
            }),
            Some(Err(Refusal::Full)) => {
                let limit = self.shared.options.max_connections;
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                Err(self.saturated("max_connections", limit, began))
            }
            Some(Err(Refusal::Broken { reason })) => Err(self.unreachable(began, reason)),
            None => Err(self.unreachable(began, "still connecting".to_owned())),
        }
    }

    /// Opens a connection in a task of its own, which goes on when this call looks elsewhere or is
    /// given up: the next one will want it. `None` when that takes longer than a call waits.
    async fn open(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Result<Slot, Refusal>> {
        let (fleet, dialled) = (Arc::clone(self), Arc::clone(endpoint));
        let opening = self.shared.tracker.spawn(async move {
            let (outcome, found_broken) = dialled.connect().await;
            if let (true, Err(Refusal::Broken { reason })) = (found_broken, &outcome) {
                fleet.broke(&dialled, reason);
            }
            fleet.changed.notify_waiters();
            outcome
        });
        timeout(self.shared.options.connect_patience, opening)
            .await
            .ok()?
            .ok()
    }

    fn unreachable(&self, began: Instant, reason: String) -> Error {
        let service = self.service.to_string();
        Error::Unreachable {
            service,
            waited: began.elapsed(),
            reason,
        }
    }

    fn saturated(&self, key: &'static str, limit: u32, began: Instant) -> Error {
        let service = self.service.to_string();
        Error::Saturated {
            service,
            key,
            limit,
            waited: began.elapsed(),
        }
    }

    /// An instance cannot be connected to: others take its calls while it is tried in the
    /// background.
    fn broke(self: &Arc<Self>, endpoint: &Arc<Endpoint>, reason: &str) {
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

    /// What an attempt came to.
    pub(crate) fn observe(&self, endpoint: &Endpoint, latency: std::time::Duration, failed: bool) {
        if !endpoint.observe(latency, failed) || endpoint.is_ejected() {
            return;
        }
        let endpoints = self.endpoints.lock();
        let serving = endpoints
            .values()
            .filter(|e| e.instance.load().is_serving())
            .count();
        let ejected = endpoints.values().filter(|e| e.is_ejected()).count();
        let allowed = (serving * self.shared.options.ejection_percent / 100).max(1);
        if ejected < allowed {
            let time = endpoint.eject();
            self.shared
                .metrics
                .ejected(&self.service, &endpoint.id(), time);
            self.rebuild(&endpoints);
        }
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
        for endpoint in endpoints.values() {
            readmitted |= endpoint.readmit(now);
            let silent = endpoint.silence() >= self.shared.options.silence;
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

/// Connects again and again, less and less often, until it works or nobody wants it any more.
async fn reconnect(fleet: Weak<Fleet>, endpoint: Weak<Endpoint>) {
    let mut failures = 1;
    loop {
        let Some(shared) = fleet.upgrade().map(|f| Arc::clone(&f.shared)) else {
            return;
        };
        let options = &shared.options;
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

fn index_of(members: &[Arc<Endpoint>], of: &[Arc<Endpoint>]) -> Vec<usize> {
    of.iter()
        .filter_map(|e| members.iter().position(|m| Arc::ptr_eq(m, e)))
        .collect()
}

impl Flight {
    pub(crate) fn instance(&self) -> Arc<Instance> {
        self.endpoint.instance.load_full()
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.endpoint.end();
        self.fleet.changed.notify_waiters();
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
