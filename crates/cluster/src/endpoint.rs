//! One instance as its callers see it: its connections, load and health.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use discovery::{Instance, InstanceKey};
use parking_lot::Mutex;
use tokio::{
    sync::{MutexGuard, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    ClusterOptions, ConnectArgs, Connections, EndpointHealth, EndpointSeries, Shared,
    health::{ConnectFailure, HealthState},
};

/// The number of the next endpoint.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// One instance, while it keeps its address.
pub struct Endpoint<C> {
    /// Replaced when the registry changes its weight, tags or Meta.
    instance: ArcSwap<Instance>,
    /// Hash of its key, for consistent hashing: the same in every process.
    pub(crate) hash: u64,
    number: u64,
    load: Arc<balance::Load>,
    /// Cancelled when it leaves the registry: ends its background tasks.
    pub(crate) gone: CancellationToken,
    shared: Arc<Shared>,
    /// The options of its cluster.
    options: Arc<ArcSwap<ClusterOptions>>,
    connections: C,
    connecting: tokio::sync::Mutex<()>,
    health_state: Mutex<HealthState>,
    /// Failures in a row.
    failures: AtomicU32,
    /// Aborts its connections.
    aborted: watch::Sender<()>,
    /// Whether a probe is running.
    pub(crate) probing: AtomicBool,
    /// Milliseconds of the clock at the last byte of any response.
    last_received: AtomicU64,
    /// Milliseconds of the clock at the first call after that.
    waiting_since: AtomicU64,
    /// Calls that have a permit, at most `max_in_flight`.
    permits: AtomicU32,
    /// Whether its cluster checks it at each tick.
    pub(crate) tracked: AtomicBool,
    /// Attempts that were sent to it.
    sent: AtomicU64,
    series: Arc<EndpointSeries>,
}

impl<C: Connections> Endpoint<C> {
    pub(crate) fn new(
        instance: Arc<Instance>,
        shared: &Arc<Shared>,
        options: &Arc<ArcSwap<ClusterOptions>>,
        joins_warm: bool,
    ) -> Self {
        let load = if joins_warm {
            balance::Load::joined_at(shared.clock.now())
        } else {
            balance::Load::new()
        };
        Self {
            hash: hash(&instance.key),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            instance: ArcSwap::new(instance),
            load: Arc::new(load),
            gone: shared.shutdown.child_token(),
            shared: Arc::clone(shared),
            options: Arc::clone(options),
            connections: C::default(),
            connecting: tokio::sync::Mutex::default(),
            health_state: Mutex::default(),
            failures: AtomicU32::new(0),
            aborted: watch::Sender::new(()),
            probing: AtomicBool::new(false),
            last_received: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            permits: AtomicU32::new(0),
            tracked: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            series: Arc::default(),
        }
    }

    /// The instance, as it is registered now.
    #[must_use]
    pub fn instance(&self) -> Guard<Arc<Instance>> {
        self.instance.load()
    }

    /// Consul service ID.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        Arc::clone(&self.instance().key.id)
    }

    /// Unique in this process, never 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Calls in flight and latency.
    #[must_use]
    pub fn load(&self) -> &Arc<balance::Load> {
        &self.load
    }

    /// Its connections.
    #[must_use]
    pub fn connections(&self) -> &C {
        &self.connections
    }

    /// Cancelled when the instance has left the registry or has another address.
    #[must_use]
    pub fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// Begins a call at a time on the clock. It is counted until [`Self::end`]. False when there
    /// are too many.
    pub(crate) fn begin(&self, now: Duration) -> bool {
        let most = self.options.load().max_in_flight;
        let one_more = |permits: u32| (permits < most).then_some(permits + 1);
        let begun = self
            .permits
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, one_more)
            .is_ok();
        if begun {
            self.load.begin(now);
            if self.waiting_since.load(Ordering::Relaxed) <= self.last_received() {
                self.waiting_since.store(ms(now), Ordering::Relaxed);
            }
        }
        begun
    }

    /// Notes that an attempt is being sent.
    pub fn mark_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts that were sent to it.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How it is named in metrics.
    pub(crate) fn series(&self) -> &Arc<EndpointSeries> {
        &self.series
    }

    /// Ends a call. True when it had the last permit.
    pub fn end(&self) -> bool {
        self.load.end();
        self.permits.fetch_sub(1, Ordering::Relaxed) >= self.options.load().max_in_flight
    }

    /// Whether it has no call in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.permits.load(Ordering::SeqCst) == 0
    }

    /// Notes that something came from the instance now.
    pub fn mark_received(&self) -> u64 {
        self.mark_received_at(self.shared.clock.now())
    }

    /// The same, at a time on the clock.
    pub fn mark_received_at(&self, now: Duration) -> u64 {
        let now = ms(now);
        // Many calls receive in one millisecond: reading first keeps the word shared between
        // threads.
        if self.last_received() != now {
            self.last_received.store(now, Ordering::Relaxed);
        }
        now
    }

    /// When something last came from it.
    pub(crate) fn last_received(&self) -> u64 {
        self.last_received.load(Ordering::Relaxed)
    }

    /// How long all its calls have been silent; zero without calls. Cancelled calls count too, so
    /// that many short ones do not hide a dead instance.
    pub(crate) fn silent_for(&self) -> Duration {
        if self.is_idle() {
            Duration::ZERO
        } else {
            self.inactive_for()
        }
    }

    /// How long ago it last got a call or sent something.
    fn inactive_for(&self) -> Duration {
        let since = self
            .last_received()
            .max(self.waiting_since.load(Ordering::Relaxed));
        Duration::from_millis(ms(self.shared.clock.now()).saturating_sub(since))
    }

    /// Closes its connections when it had no call for this time. The next call opens one again.
    pub(crate) fn close_idle(&self, idle: Duration) {
        if self.is_idle() && self.inactive_for() >= idle {
            self.connections.clear();
        }
    }

    /// Whether it needs no checks: it has no call, no connection and no ejection.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_idle() && self.connections.is_empty() && !self.is_ejected()
    }

    /// The lock for opening a connection, one at a time. Those who waited find the connection, or
    /// its failure.
    pub async fn lock_connecting(&self) -> MutexGuard<'_, ()> {
        self.connecting.lock().await
    }

    /// The arguments for a new connection to it.
    #[must_use]
    pub fn connect_args(&self) -> ConnectArgs {
        ConnectArgs {
            authority: self.instance().authority(),
            options: self.options.load_full(),
            tracker: self.shared.tracker.clone(),
            aborted: self.aborted(),
        }
    }

    /// Fails the calls on its connections, because it was silent for too long.
    pub(crate) fn abort_connections(&self) {
        self.aborted.send_replace(());
    }

    /// Changes when connections to it have to be aborted. Ends with it.
    #[must_use]
    pub fn aborted(&self) -> watch::Receiver<()> {
        self.aborted.subscribe()
    }

    /// Retries to connect. Clears the failure when it works.
    pub(crate) async fn reconnect(&self) -> Result<(), String> {
        let _connecting = self.lock_connecting().await;
        if self.connect_error().is_none() {
            return Ok(());
        }
        let outcome = self.connections.open(self.connect_args()).await;
        let mut state = self.health_state.lock();
        match (&outcome, state.connect_failure.as_mut()) {
            (Err(reason), Some(known)) => known.reason.clone_from(reason),
            _ => state.connect_failure = None,
        }
        outcome
    }

    /// Marks it as unreachable. If it was not before, the caller has to retry, until the returned
    /// token is cancelled.
    pub(crate) fn mark_unreachable(&self, reason: &str) -> Option<CancellationToken> {
        let attempts = self.gone.child_token();
        let mut state = self.health_state.lock();
        if let Some(known) = &mut state.connect_failure {
            reason.clone_into(&mut known.reason);
            return None;
        }
        state.connect_failure = Some(ConnectFailure {
            reason: reason.to_owned(),
            _attempts: attempts.clone().drop_guard(),
        });
        Some(attempts)
    }

    /// Why connecting to it fails now; `None` while it does not.
    #[must_use]
    pub fn connect_error(&self) -> Option<String> {
        let state = self.health_state.lock();
        let failure = state.connect_failure.as_ref();
        failure.map(|failure| failure.reason.clone())
    }

    /// Sets whether its calls and health checks are silent. True when that is a change.
    pub(crate) fn set_silent(&self, silent: bool) -> bool {
        mem::replace(&mut self.health_state.lock().silent, silent) != silent
    }

    /// Its health for calls.
    #[must_use]
    pub fn health(&self) -> EndpointHealth {
        self.health_state.lock().health()
    }

    /// Records an answer, or a failure, after a latency, at a time on the clock. Policies by
    /// latency use it.
    pub fn observe(&self, latency: Duration, failed: bool, now: Duration) {
        self.load.observe(latency, failed, now);
    }

    /// Records that an attempt was cancelled.
    pub fn give_up(&self, latency: Duration, now: Duration) {
        self.load.give_up(latency, now);
    }

    /// Records its load report.
    pub fn report(&self, report: &balance::LoadReport) {
        self.load.report(report, self.shared.clock.now());
    }

    /// Records the outcome of an attempt. True when its failures in a row reached the limit.
    pub(crate) fn record_outcome(&self, failed: bool) -> bool {
        if !failed {
            // Nearly always 0: reading first keeps the word shared between threads.
            if self.failures.load(Ordering::Relaxed) != 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.options.load().ejection_failures
    }

    /// Ejects it for a time that grows with its number of ejections.
    pub(crate) fn eject(&self) -> Duration {
        let options = self.options.load();
        let time = self.health_state.lock().eject(&options, Instant::now());
        self.failures.store(0, Ordering::Relaxed);
        time
    }

    /// Whether it is ejected for failures.
    pub(crate) fn is_ejected(&self) -> bool {
        self.health_state.lock().is_ejected()
    }

    /// Ends an ejection whose time is over. True when it did.
    pub(crate) fn readmit(&self, now: Instant) -> bool {
        let over = self.health_state.lock().readmit(now);
        if over {
            // Calls that were in flight at the ejection have failed since.
            self.failures.store(0, Ordering::Relaxed);
        }
        over
    }

    /// Applies a new registration of the instance. False when that needs a new endpoint: the
    /// address has changed, or it begins to serve and never had a call. An instance that becomes
    /// passing again has its failures forgotten.
    pub(crate) fn update_instance(&self, instance: &Arc<Instance>) -> bool {
        let before = self.instance();
        if (&before.host, before.port) != (&instance.host, instance.port) {
            return false;
        }
        if instance.is_serving() && !before.is_serving() {
            if self.waiting_since.load(Ordering::Relaxed) == 0 {
                return false;
            }
            *self.health_state.lock() = HealthState::default();
            self.failures.store(0, Ordering::Relaxed);
        }
        self.instance.store(Arc::clone(instance));
        true
    }
}

impl<C> Drop for Endpoint<C> {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl<C> std::fmt::Debug for Endpoint<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("key", &self.instance.load().key)
            .finish_non_exhaustive()
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn hash(key: &InstanceKey) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(key.node.as_bytes());
    hasher.update(&[0]);
    hasher.update(key.id.as_bytes());
    hasher.digest()
}
