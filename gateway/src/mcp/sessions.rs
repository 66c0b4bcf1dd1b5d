//! Sessions of clients before revision 2026-07-28. An id names the gateway that has the session, so that
//! any other can pass requests on to it.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    hash::{Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use mcp::rpc::Version;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{keys::Listing, mount_session::MountSession};

/// Messages that may wait for a session's stream.
const STREAM: usize = 64;
/// Requests of one session that may be in flight.
pub(crate) const MAX_IN_FLIGHT: usize = 1024;
/// Resources that one session may follow.
pub(crate) const MAX_RESOURCES: usize = 1024;
/// The longest address of a resource that is followed, bytes.
pub(crate) const MAX_URI: usize = 4096;
/// The largest first message that is kept for another gateway, bytes.
pub(crate) const MAX_INITIALIZE: usize = 16 << 10;
/// Sessions are restored one after the other where their ids fall on the same of so many locks.
const LOCKS: usize = 64;
/// When the table is full, so many of a hundred sessions go at once.
const EVICTED: usize = 1;

/// What another gateway needs to go on with a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) version: String,
    /// Whose it is.
    pub(crate) caller: Option<String>,
    /// Of `/mcp/{service}`.
    pub(crate) service: Option<String>,
    pub(crate) searches: Option<bool>,
    /// Whether the client declares that it knows tasks.
    pub(crate) takes_tasks: bool,
    /// The gateway that has it now.
    pub(crate) gateway: String,
    pub(crate) resources: BTreeSet<String>,
    /// How many gateways have gone on with it: no two records are the same.
    #[serde(default)]
    pub(crate) moves: u32,
    /// The first message of a session with a mounted server, which begins it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) initialize: Option<String>,
    /// The level of the log that its client has set there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<String>,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: Arc<str>,
    pub(crate) version: Version,
    pub(crate) caller: Option<Arc<str>>,
    pub(crate) service: Option<Arc<str>>,
    pub(crate) listing: Option<Listing>,
    pub(crate) takes_tasks: bool,
    /// Of `/sse`: its answers go into its stream too.
    pub(crate) is_old: bool,
    /// Milliseconds since the table began.
    used: AtomicU64,
    /// When its time in Redis was last renewed.
    renewed: Mutex<Instant>,
    /// Requests and streams that it has now.
    busy: AtomicUsize,
    in_flight: Mutex<HashMap<Box<str>, CancellationToken>>,
    stream: Mutex<Option<mpsc::Sender<Bytes>>>,
    pub(crate) resources: Mutex<BTreeSet<String>>,
    /// Tells its stream that the resources are others.
    pub(crate) follows: Notify,
    /// How many gateways have gone on with it.
    pub(crate) moves: u32,
    /// The first message of a session with a mounted server, unless it is too large to be kept.
    pub(crate) initialize: Option<Bytes>,
    /// The level of the log that its client has set there.
    pub(crate) level: Mutex<Option<String>>,
    /// The session with a mounted server, for `/mcp/{mount}`.
    pub(crate) mount: Option<MountSession>,
    /// Ends its streams.
    pub(crate) ended: CancellationToken,
}

/// A request or a stream of a session, while it goes on.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Session>);

/// A request that can be cancelled, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    session: Arc<Session>,
    key: Box<str>,
    pub(crate) cancelled: CancellationToken,
}

/// The sessions of one gateway.
#[derive(Debug)]
pub(crate) struct Sessions {
    gateway: Arc<str>,
    began: Instant,
    idle: Duration,
    max: usize,
    open: Mutex<HashMap<Arc<str>, Arc<Session>>>,
    locks: [tokio::sync::Mutex<()>; LOCKS],
}

impl Sessions {
    pub(crate) fn new(gateway: &str, idle: Duration, max: usize) -> Self {
        Self {
            gateway: gateway.into(),
            began: Instant::now(),
            idle,
            max,
            open: Mutex::default(),
            locks: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    pub(crate) fn gateway(&self) -> &str {
        &self.gateway
    }

    /// An id that cannot be guessed, and names this gateway.
    pub(crate) fn new_id(&self) -> Arc<str> {
        format!("{}.{:032x}", self.gateway, rand::random::<u128>()).into()
    }

    /// Opens a session. Where there are too many, the longest idle ones end.
    ///
    /// # Errors
    /// When all that there may be are busy.
    pub(crate) fn insert(&self, session: &Arc<Session>) -> Result<(), ()> {
        self.touch(session);
        let mut open = self.open.lock();
        if open.len() >= self.max {
            self.evict(&mut open);
        }
        if open.len() >= self.max {
            return Err(());
        }
        open.insert(Arc::clone(&session.id), Arc::clone(session));
        Ok(())
    }

    /// The right to restore the session of this id: one request does, and others wait for it.
    pub(crate) async fn restoring(&self, id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = std::hash::DefaultHasher::new();
        id.hash(&mut hasher);
        // Less than the number of locks.
        let at = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.locks[at].lock().await
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let session = self.open.lock().get(id).cloned()?;
        self.touch(&session);
        Some(session)
    }

    /// Ends this session, and none that has its id since. Whether it was open.
    pub(crate) fn close_this(&self, session: &Arc<Session>) -> bool {
        let mut open = self.open.lock();
        let known = open.get(&session.id);
        let is_open = known.is_some_and(|known| Arc::ptr_eq(known, session));
        if is_open {
            open.remove(&session.id);
        }
        drop(open);
        session.end();
        is_open
    }

    /// Ends what was idle too long, and gives back its memory.
    pub(crate) fn sweep(&self) -> usize {
        let now = self.now();
        let idle = millis(self.idle);
        let mut open = self.open.lock();
        let before = open.len();
        open.retain(|_, session| {
            let keep = session.is_busy() || now.saturating_sub(session.used.load(Relaxed)) < idle;
            if !keep {
                session.end();
            }
            keep
        });
        if open.capacity() > 4 * open.len() + 64 {
            open.shrink_to_fit();
        }
        before - open.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    fn evict(&self, open: &mut HashMap<Arc<str>, Arc<Session>>) {
        let idle = open.values().filter(|session| !session.is_busy());
        let mut idle: Vec<_> = idle
            .map(|session| (session.used.load(Relaxed), Arc::clone(&session.id)))
            .collect();
        let count = (open.len() * EVICTED).div_ceil(100).min(idle.len());
        if count == 0 {
            return;
        }
        let (oldest, _, _) = idle.select_nth_unstable(count - 1);
        let last = oldest.len();
        for (_, id) in idle.drain(..=last) {
            if let Some(session) = open.remove(&id) {
                session.end();
            }
        }
    }

    fn touch(&self, session: &Session) {
        session.used.store(self.now(), Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The gateway that an id names.
pub(crate) fn gateway_of(id: &str) -> Option<&str> {
    id.rsplit_once('.').map(|(gateway, _)| gateway)
}

impl Session {
    pub(crate) fn new(id: Arc<str>, version: Version) -> Self {
        Self {
            id,
            version,
            caller: None,
            service: None,
            listing: None,
            takes_tasks: false,
            is_old: false,
            used: AtomicU64::new(0),
            renewed: Mutex::new(Instant::now()),
            busy: AtomicUsize::new(0),
            in_flight: Mutex::default(),
            stream: Mutex::default(),
            resources: Mutex::default(),
            follows: Notify::new(),
            moves: 0,
            initialize: None,
            level: Mutex::default(),
            mount: None,
            ended: CancellationToken::new(),
        }
    }

    /// The session that a record is of. A version that is not served makes none.
    pub(crate) fn restored(id: Arc<str>, record: &SessionRecord) -> Option<Self> {
        let version = Version::parse(&record.version).filter(|version| !version.is_modern())?;
        let mut session = Self::new(id, version);
        session.caller = record.caller.as_deref().map(Into::into);
        session.service = record.service.as_deref().map(Into::into);
        session.listing = record.searches.map(|searches| match searches {
            true => Listing::Search,
            false => Listing::All,
        });
        session.takes_tasks = record.takes_tasks;
        session.resources = Mutex::new(record.resources.clone());
        session.moves = record.moves;
        session.initialize = record.initialize.clone().map(Into::into);
        session.level = Mutex::new(record.level.clone());
        Some(session)
    }

    /// What another gateway needs to go on with it.
    pub(crate) fn record(&self, gateway: &str) -> SessionRecord {
        SessionRecord {
            version: self.version.as_str().to_owned(),
            caller: self.caller.as_deref().map(str::to_owned),
            service: self.service.as_deref().map(str::to_owned),
            searches: self.listing.map(|listing| listing == Listing::Search),
            takes_tasks: self.takes_tasks,
            gateway: gateway.to_owned(),
            resources: self.resources.lock().clone(),
            moves: self.moves,
            initialize: self.initialize.as_deref().map(text),
            level: self.level.lock().clone(),
        }
    }

    /// Whether another gateway could go on with it. A stream of 2024-11-05 is its session's life, and
    /// one with a mounted server is begun again by its first message.
    pub(crate) fn can_move(&self) -> bool {
        !self.is_old && (self.mount.is_none() || self.initialize.is_some())
    }

    /// Whether its time in Redis is to be renewed: so long ago was the last time.
    pub(crate) fn is_due(&self, now: Instant, after: Duration) -> bool {
        let mut renewed = self.renewed.lock();
        let is_due = now.saturating_duration_since(*renewed) >= after;
        if is_due {
            *renewed = now;
        }
        is_due
    }

    /// Whether everything that it is sent goes into its stream.
    pub(crate) const fn is_old(&self) -> bool {
        self.is_old
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Relaxed) > 0
    }

    pub(crate) fn end(&self) {
        self.ended.cancel();
        self.stream.lock().take();
        for (_, cancelled) in self.in_flight.lock().drain() {
            cancelled.cancel();
        }
    }

    /// It is not idle until this is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// A request that begins. `None` when so many are in flight that no more are taken, or one has
    /// this id already.
    pub(crate) fn begin(self: &Arc<Self>, key: Box<str>) -> Option<InFlight> {
        let mut in_flight = self.in_flight.lock();
        if in_flight.len() >= MAX_IN_FLIGHT || in_flight.contains_key(&key) {
            return None;
        }
        let cancelled = CancellationToken::new();
        in_flight.insert(key.clone(), cancelled.clone());
        Some(InFlight {
            session: Arc::clone(self),
            key,
            cancelled,
        })
    }

    /// Cancels a request.
    pub(crate) fn cancel(&self, key: &str) {
        let found = self.in_flight.lock().get(key).cloned();
        if let Some(cancelled) = found {
            cancelled.cancel();
        }
    }

    /// A stream of what belongs to no request. The one before ends.
    pub(crate) fn stream(&self) -> mpsc::Receiver<Bytes> {
        let (send, receive) = mpsc::channel(STREAM);
        *self.stream.lock() = Some(send);
        receive
    }

    /// Who sends into that stream.
    pub(crate) fn sender(&self) -> Option<mpsc::Sender<Bytes>> {
        self.stream.lock().clone()
    }

    /// Sends into that stream and waits for room, where there is one.
    pub(crate) async fn send_all(&self, message: Bytes) -> bool {
        match self.sender() {
            Some(sender) => sender.send(message).await.is_ok(),
            None => false,
        }
    }

    /// Sends into that stream, where there is one. What it does not take at once is lost.
    pub(crate) fn send(&self, message: Bytes) -> bool {
        let mut stream = self.stream.lock();
        let Some(sender) = stream.as_ref() else {
            return false;
        };
        match sender.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
            Err(mpsc::error::TrySendError::Closed(_)) => {
                *stream = None;
                false
            }
        }
    }
}

impl Busy {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.session.in_flight.lock().remove(&self.key);
    }
}
