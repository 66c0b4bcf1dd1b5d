//! One instance as its callers see it: its connections, its load, and whether it can be used.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use discovery::{Instance, InstanceKey};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    ClusterOptions,
    connection::{Connection, StreamPermit},
    dial::dial,
    health::{ConnectFailure, EndpointHealth, HealthState},
    shared::Shared,
};

/// One instance.
pub(crate) struct Endpoint {
    /// Replaced when the registry changes its weight, tags or Meta.
    pub(crate) instance: ArcSwap<Instance>,
    /// Of its key: the same in every process, for consistent hashing.
    pub(crate) hash: u64,
    /// Unique in this process, never 0: names it to carriers.
    pub(crate) number: u64,
    pub(crate) load: Arc<balance::Load>,
    /// Ends its background tasks when it leaves the registry.
    pub(crate) gone: CancellationToken,
    shared: Arc<Shared>,
    /// Its cluster's.
    options: Arc<ArcSwap<ClusterOptions>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    dialing: tokio::sync::Mutex<()>,
    health_state: Mutex<HealthState>,
    /// Failures in a row.
    failures: AtomicU32,
    /// Tells its connections, and carriers with connections of their own, that they are dead.
    aborted: watch::Sender<()>,
    /// A probe of its silence is under way.
    pub(crate) probing: AtomicBool,
    /// Milliseconds on the mesh's clock of the last byte of any answer.
    last_received: AtomicU64,
    /// Milliseconds on the mesh's clock of the first call after that.
    waiting_since: AtomicU64,
    /// Calls that have a place, at most `max_in_flight`.
    permits: AtomicU32,
    /// Its cluster looks at it from time to time.
    pub(crate) tracked: AtomicBool,
}

/// Why a connection could not be had.
pub(crate) enum AcquireError {
    /// The instance cannot be connected to.
    ConnectFailed { reason: String },
    /// Every connection is full and no more may be opened.
    Full,
}

impl Endpoint {
    pub(crate) fn new(
        instance: Arc<Instance>,
        shared: &Arc<Shared>,
        options: &Arc<ArcSwap<ClusterOptions>>,
        joins_warm: bool,
    ) -> Self {
        let load = if joins_warm {
            balance::Load::joined_at(shared.now())
        } else {
            balance::Load::new()
        };
        Self {
            hash: hash(&instance.key),
            number: crate::attempt::number(),
            instance: ArcSwap::new(instance),
            load: Arc::new(load),
            gone: shared.shutdown.child_token(),
            shared: Arc::clone(shared),
            options: Arc::clone(options),
            connections: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            health_state: Mutex::default(),
            failures: AtomicU32::new(0),
            aborted: watch::Sender::new(()),
            probing: AtomicBool::new(false),
            last_received: AtomicU64::new(0),
            waiting_since: AtomicU64::new(0),
            permits: AtomicU32::new(0),
            tracked: AtomicBool::new(false),
        }
    }

    pub(crate) fn id(&self) -> Arc<str> {
        Arc::clone(&self.instance.load().key.id)
    }

    /// A call begins at a time on the mesh's clock: counted until [`Self::end`]. False when there are
    /// too many.
    pub(crate) fn begin(&self, now: Duration) -> bool {
        let most = self.options.load().max_in_flight;
        let less = |permits: u32| (permits < most).then_some(permits + 1);
        let begun = self
            .permits
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, less)
            .is_ok();
        if begun {
            self.load.begin(now);
            if self.waiting_since.load(Ordering::Relaxed) <= self.last_received() {
                self.waiting_since.store(ms(now), Ordering::Relaxed);
            }
        }
        begun
    }

    /// A call is over. True when it had the last place.
    pub(crate) fn end(&self) -> bool {
        self.load.end();
        self.permits.fetch_sub(1, Ordering::Relaxed) >= self.options.load().max_in_flight
    }

    /// Whether it has no call.
    pub(crate) fn is_idle(&self) -> bool {
        self.permits.load(Ordering::SeqCst) == 0
    }

    /// Something came from the instance, now: milliseconds on the mesh's clock.
    pub(crate) fn mark_received(&self) -> u64 {
        self.mark_received_at(self.shared.now())
    }

    /// The same, at a time on the mesh's clock.
    pub(crate) fn mark_received_at(&self, now: Duration) -> u64 {
        let now = ms(now);
        // Many calls hear in one millisecond: the word is written once, not fought for.
        if self.last_received() != now {
            self.last_received.store(now, Ordering::Relaxed);
        }
        now
    }

    /// When something last came from it.
    pub(crate) fn last_received(&self) -> u64 {
        self.last_received.load(Ordering::Relaxed)
    }

    /// How long all its calls have been silent; zero while it has none. Calls that were given up
    /// meanwhile count, so that many short ones do not hide that nobody answers.
    pub(crate) fn silent_for(&self) -> Duration {
        if self.is_idle() {
            Duration::ZERO
        } else {
            self.inactive_for()
        }
    }

    /// How long ago it was last asked or heard.
    fn inactive_for(&self) -> Duration {
        let since = self
            .last_received()
            .max(self.waiting_since.load(Ordering::Relaxed));
        Duration::from_millis(ms(self.shared.now()).saturating_sub(since))
    }

    /// A place on a connection that is open, the first that has one: filling one connection before
    /// the next costs fewer system calls than spreading over many. `None` when [`Self::connect`]
    /// may open another.
    pub(crate) fn reserve(&self) -> Result<Option<StreamPermit>, AcquireError> {
        let mut connections = self.connections.lock();
        if let Some(permit) = connections.iter().find_map(Connection::reserve) {
            return Ok(Some(permit));
        }
        connections.retain(|connection| !connection.is_closed());
        if let Some(reason) = self.connect_error() {
            return Err(AcquireError::ConnectFailed { reason });
        }
        if connections.len() >= self.options.load().max_connections {
            return Err(AcquireError::Full);
        }
        Ok(None)
    }

    /// A place on a new connection, or on one that has just been opened; and what [`Self::mark_unreachable`]
    /// gives when it was found out here that the instance cannot be connected to.
    pub(crate) async fn connect(
        &self,
    ) -> (
        Result<StreamPermit, AcquireError>,
        Option<CancellationToken>,
    ) {
        // One connect at a time: callers that waited for it find its connection, or its failure.
        let _dialing = self.dialing.lock().await;
        match self.reserve() {
            Ok(Some(permit)) => return (Ok(permit), None),
            Ok(None) => {}
            Err(refusal) => return (Err(refusal), None),
        }
        match self.open().await {
            Ok(permit) => (Ok(permit), None),
            // It serves those it has, and takes no more.
            Err(_) if !self.connections.lock().is_empty() => (Err(AcquireError::Full), None),
            Err(reason) => {
                let attempts = self.mark_unreachable(&reason);
                (Err(AcquireError::ConnectFailed { reason }), attempts)
            }
        }
    }

    async fn open(&self) -> Result<StreamPermit, String> {
        let connection = self.dial().await?;
        let permit = connection.reserve().ok_or("it was closed at once")?;
        self.connections.lock().push(connection);
        Ok(permit)
    }

    /// Closes its connections when it has had no call for so long; the next call opens one again.
    pub(crate) fn close_idle(&self, idle: Duration) {
        if self.is_idle() && self.inactive_for() >= idle {
            self.connections.lock().clear();
        }
    }

    /// Whether there is nothing to look at: no call, no connection, no ejection to end.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_idle() && self.connections.lock().is_empty() && !self.is_ejected()
    }

    /// A new connection of its own, not among those that carry calls.
    pub(crate) async fn dial(&self) -> Result<Arc<Connection>, String> {
        let authority = self.instance.load().authority();
        let options = self.options.load_full();
        let limit = options.connect_timeout;
        let connected = AtomicBool::new(false);
        let connecting = async {
            let stream = dial(&authority, &options)
                .await
                .map_err(|e| format!("{authority}: {e}"))?;
            connected.store(true, Ordering::Relaxed);
            Connection::handshake(stream, &self.shared.tracker, self.aborted())
                .await
                .map_err(|e| format!("{authority}: {e}"))
        };
        timeout(limit, connecting).await.unwrap_or_else(|_| {
            let what = if connected.load(Ordering::Relaxed) {
                "it took the connection, and sent no SETTINGS"
            } else {
                "no connection"
            };
            Err(format!("{authority}: {what} within {limit:?}"))
        })
    }

    /// It has been silent for too long: calls that are on it have failed.
    pub(crate) fn abort_connections(&self) {
        self.aborted.send_replace(());
    }

    /// Changes when connections to it are to be given up; ends with it.
    pub(crate) fn aborted(&self) -> watch::Receiver<()> {
        self.aborted.subscribe()
    }

    /// Tries again to connect; clears the failure when it works.
    pub(crate) async fn reconnect(&self) -> Result<(), String> {
        let _dialing = self.dialing.lock().await;
        if self.connect_error().is_none() {
            return Ok(());
        }
        let outcome = self.open().await;
        let mut health_state = self.health_state.lock();
        let failure = &mut health_state.connect_failure;
        match (&outcome, failure.as_mut()) {
            (Err(reason), Some(known)) => known.reason.clone_from(reason),
            _ => *failure = None,
        }
        outcome.map(drop)
    }

    /// It cannot be connected to. When that is news, somebody should try again, until what is given
    /// is cancelled.
    pub(crate) fn mark_unreachable(&self, reason: &str) -> Option<CancellationToken> {
        let attempts = self.gone.child_token();
        let mut health_state = self.health_state.lock();
        let failure = &mut health_state.connect_failure;
        if let Some(known) = failure {
            reason.clone_into(&mut known.reason);
            return None;
        }
        *failure = Some(ConnectFailure {
            reason: reason.to_owned(),
            _attempts: attempts.clone().drop_guard(),
        });
        Some(attempts)
    }

    /// Why it cannot be connected to, while it cannot.
    pub(crate) fn connect_error(&self) -> Option<String> {
        let health_state = self.health_state.lock();
        health_state
            .connect_failure
            .as_ref()
            .map(|failure| failure.reason.clone())
    }

    /// Its calls and its health are silent, or not any more; true when that is news.
    pub(crate) fn set_silent(&self, silent: bool) -> bool {
        mem::replace(&mut self.health_state.lock().silent, silent) != silent
    }

    /// How well it can take calls, by what is held against it.
    pub(crate) fn health(&self) -> EndpointHealth {
        self.health_state.lock().health()
    }

    /// It answered after, or failed within, a time: what policies that look at latency go by.
    pub(crate) fn observe(&self, latency: Duration, failed: bool) {
        self.observe_at(latency, failed, self.shared.now());
    }

    /// The same, at a time on the mesh's clock.
    pub(crate) fn observe_at(&self, latency: Duration, failed: bool, now: Duration) {
        self.load.observe(latency, failed, now);
    }

    /// Nobody waits for an attempt's answer any more.
    pub(crate) fn give_up(&self, latency: Duration, now: Duration) {
        self.load.give_up(latency, now);
    }

    /// It told its load.
    pub(crate) fn report(&self, report: &balance::LoadReport) {
        self.load.report(report, self.shared.now());
    }

    /// An attempt had an end. True when its failures in a row have come to the limit.
    pub(crate) fn outcome(&self, failed: bool) -> bool {
        if !failed {
            // Seldom other than 0: read first, since all threads share the word.
            if self.failures.load(Ordering::Relaxed) != 0 {
                self.failures.store(0, Ordering::Relaxed);
            }
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.options.load().ejection_failures
    }

    /// Ejects it for as long as its number of ejections says.
    pub(crate) fn eject(&self) -> Duration {
        let time = self
            .health_state
            .lock()
            .eject(&self.options.load(), Instant::now());
        self.failures.store(0, Ordering::Relaxed);
        time
    }

    /// Whether it is ejected for failures.
    pub(crate) fn is_ejected(&self) -> bool {
        self.health_state.lock().is_ejected()
    }

    /// Ends an ejection whose time is over; true when it did.
    pub(crate) fn readmit(&self, now: Instant) -> bool {
        let over = self.health_state.lock().readmit(now);
        if over {
            // Calls that were under way when it was ejected have failed since.
            self.failures.store(0, Ordering::Relaxed);
        }
        over
    }

    /// The registry tells something else of it. False when what it tells of is not this: it has
    /// another address, or begins to serve only now and has never had a call. What becomes passing
    /// again has what was held against it forgotten.
    pub(crate) fn update_instance(&self, instance: &Arc<Instance>) -> bool {
        let before = self.instance.load();
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

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.gone.cancel();
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
