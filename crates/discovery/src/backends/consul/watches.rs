//! Owns the watches: one task per name, which ends with its last receiver.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    blocking_query::{BlockingQuery, CatalogSource, InstancesSource, Source},
    bulk_watcher,
    cache::{Cache, KnownState, persist},
    client::ConsulApi,
    kv::KvSource,
    outage::Outages,
    resync,
    visibility::Visibility,
};
use crate::{Catalog, KvEntries, RegistryStatus, Snapshot, status::LeftOuts};

/// Above this many services one watch on all checks says what to fetch. Consul lets one client
/// address hold 200 connections, and each blocking query holds one.
const MANY: usize = 100;
/// How many services are fetched at the same time when there are many.
const FETCHES: usize = 8;
/// How often each of many services is fetched without being told to: a resync does not show the
/// address of a node, which is that of its instances without one.
const REFRESH: Duration = Duration::from_secs(300);

/// How services learn that they have news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each by a blocking query of its own.
    PerService,
    /// From the bulk watcher. Each value sent with Consul there makes all services fetch.
    Bulk {
        /// Moves with every outage, at its start.
        outages: u64,
        /// Whether Consul is away now, so that fetching is of no use.
        unreachable: bool,
    },
}

/// All watches of one backend.
pub(super) struct Watches {
    pub(super) client: Arc<ConsulApi>,
    pub(super) outages: Outages,
    pub(super) mode: watch::Sender<Mode>,
    pub(super) stop: CancellationToken,
    /// The index of the catalog: moves whenever any registration changes.
    pub(super) moved: watch::Sender<u64>,
    /// Whether Consul has answered once: until then what is shown is cached.
    answered: AtomicBool,
    /// Wakes who keeps what is known on the disk.
    pub(super) news: Notify,
    left_outs: LeftOuts,
    visibility: Arc<Visibility>,
    cache: Option<Cache>,
    state: Mutex<State>,
    fetches: Semaphore,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What the disk remembers of a source.
type CachedItems<S> = Option<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

/// What there is one of, while somebody watches it.
type Single<T> = Option<Arc<watch::Sender<Option<Arc<T>>>>>;

#[derive(Default)]
struct State {
    catalog: Single<Catalog>,
    entries: Single<KvEntries>,
    services: HashMap<Arc<str>, ServiceWatch>,
    bulk_watched: bool,
    /// Whether the task that resyncs is running.
    resyncing: bool,
}

#[derive(Clone)]
struct ServiceWatch {
    sender: Arc<watch::Sender<Option<Arc<Snapshot>>>>,
    news: Arc<News>,
}

/// That a service has news, and since when it is known.
struct News {
    wake: Notify,
    since: Mutex<Instant>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches")
            .field("mode", &*self.mode.borrow())
            .finish_non_exhaustive()
    }
}

impl Watches {
    pub(super) fn new(client: Arc<ConsulApi>, runtime: Handle, cache: Option<Cache>) -> Arc<Self> {
        let watches = Arc::new(Self {
            client,
            moved: watch::channel(0).0,
            answered: AtomicBool::new(false),
            news: Notify::new(),
            left_outs: LeftOuts::default(),
            visibility: Arc::default(),
            cache,
            outages: Outages::default(),
            mode: watch::channel(Mode::PerService).0,
            stop: CancellationToken::new(),
            state: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            runtime,
            tasks: TaskTracker::new(),
        });
        if watches.cache.is_some() {
            let persist = persist(watches.clone());
            watches.tasks.spawn_on(persist, &watches.runtime);
        }
        watches
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    pub(super) fn status(&self) -> RegistryStatus {
        RegistryStatus {
            error: self.outages.error().map(|error| error.to_string()),
            cached_seconds: (!self.answered.load(Ordering::Relaxed))
                .then(|| self.cache.as_ref()?.age())
                .flatten(),
            left_out: self.left_outs.list(),
        }
    }

    /// A question was answered as of an index, or not at all as of 0.
    fn note(&self, index: u64) {
        if index > 0 {
            self.answered.store(true, Ordering::Relaxed);
        }
        self.news.notify_one();
    }

    /// What is known now, of all that somebody watches.
    pub(super) fn known(&self) -> KnownState {
        let state = self.state.lock();
        let value = |single: &Single<Catalog>| single.as_ref()?.borrow().clone();
        let entries = state.entries.as_ref();
        let services = state.services.iter();
        KnownState {
            catalog: value(&state.catalog),
            entries: entries.and_then(|entries| entries.borrow().clone()),
            services: services
                .filter_map(|(name, watched)| {
                    Some((name.clone(), watched.sender.borrow().clone()?))
                })
                .collect(),
        }
    }

    /// Ends every task, at its next await.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn catalog(self: &Arc<Self>) -> watch::Receiver<Option<Arc<Catalog>>> {
        let left_outs = self.left_outs.clone();
        let cached = self.cache.as_ref().and_then(Cache::catalog);
        let source = CatalogSource { left_outs };
        self.single(source, cached, |state| &mut state.catalog)
    }

    pub(super) fn entries(self: &Arc<Self>) -> watch::Receiver<Option<Arc<KvEntries>>> {
        let cached = self.cache.as_ref().and_then(Cache::entries);
        self.single(KvSource, cached, |state| &mut state.entries)
    }

    fn single<S: Source>(
        self: &Arc<Self>,
        source: S,
        cached: CachedItems<S>,
        place: fn(&mut State) -> &mut Single<S::Value>,
    ) -> watch::Receiver<Option<Arc<S::Value>>> {
        let mut state = self.state.lock();
        if let Some(sender) = place(&mut state) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *place(&mut state) = Some(sender.clone());
        let query = BlockingQuery::new(source, sender.clone(), self.outages.clone(), cached);
        let follow = follow_single(self.clone(), query, sender, place);
        self.tasks.spawn_on(follow, &self.runtime);
        receiver
    }

    pub(super) fn service(
        self: &Arc<Self>,
        service: &str,
    ) -> watch::Receiver<Option<Arc<Snapshot>>> {
        let mut state = self.state.lock();
        if let Some(watched) = state.services.get(service) {
            return watched.sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let watched = ServiceWatch {
            sender: Arc::new(sender),
            news: Arc::new(News {
                wake: Notify::new(),
                since: Mutex::new(Instant::now()),
            }),
        };
        let name: Arc<str> = service.into();
        state.services.insert(name.clone(), watched.clone());
        if state.services.len() > MANY && !state.bulk_watched {
            state.bulk_watched = true;
            self.mode.send_replace(Mode::Bulk {
                outages: 0,
                unreachable: false,
            });
            self.tasks
                .spawn_on(bulk_watcher::run(self.clone()), &self.runtime);
            if !std::mem::replace(&mut state.resyncing, true) {
                self.tasks
                    .spawn_on(resync::run(self.clone()), &self.runtime);
            }
        }
        self.tasks
            .spawn_on(follow_service(self.clone(), name, watched), &self.runtime);
        receiver
    }

    /// Ends the bulk watch when few enough services are left, and answers whether it did.
    pub(super) fn end_bulk_watch(&self) -> bool {
        let mut state = self.state.lock();
        if state.services.len() > MANY {
            return false;
        }
        state.bulk_watched = false;
        self.mode.send_replace(Mode::PerService);
        true
    }

    /// Ends the resyncs when the bulk watch has ended, and answers whether it did.
    pub(super) fn end_resync(&self) -> bool {
        let mut state = self.state.lock();
        if !state.bulk_watched {
            state.resyncing = false;
        }
        !state.bulk_watched
    }

    /// Tells those services that have news.
    pub(super) fn tell(&self, has_news: impl Fn(&str) -> bool) {
        let (state, now) = (self.state.lock(), Instant::now());
        for (name, watched) in &state.services {
            if has_news(name) {
                *watched.news.since.lock() = now;
                watched.news.wake.notify_one();
            }
        }
    }

    /// Takes a single watch out unless somebody has subscribed. As with
    /// [`Watches::forget_service`], the lock decides: subscribing and forgetting both hold it.
    fn forget_single<T>(&self, place: fn(&mut State) -> &mut Single<T>) -> bool {
        let mut state = self.state.lock();
        let single = place(&mut state);
        let unused = single
            .as_ref()
            .is_none_or(|sender| sender.receiver_count() == 0);
        if unused {
            *single = None;
        }
        unused
    }

    fn forget_service(&self, name: &str) -> bool {
        let mut state = self.state.lock();
        let watched = state.services.get(name);
        let unused = watched.is_none_or(|watched| watched.sender.receiver_count() == 0);
        if unused {
            state.services.remove(name);
        }
        unused
    }
}

async fn follow_single<S: Source>(
    watches: Arc<Watches>,
    mut query: BlockingQuery<S>,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    place: fn(&mut State) -> &mut Single<S::Value>,
) {
    loop {
        let expiry = query.expiry();
        let turn = async {
            query.ready().await;
            query.wait(&watches.client).await;
        };
        tokio::select! {
            () = watches.stop.cancelled() => return,
            () = sender.closed() => if watches.forget_single(place) { return },
            () = expiry => query.expire(),
            () = turn => {}
        }
        if S::IS_CATALOG && query.index() > 0 {
            watches.moved.send_replace(query.index());
        }
        watches.note(query.index());
    }
}

async fn follow_service(watches: Arc<Watches>, name: Arc<str>, watched: ServiceWatch) {
    let ServiceWatch { sender, news } = watched;
    let (left_outs, visibility) = (watches.left_outs.clone(), watches.visibility.clone());
    let mut query = BlockingQuery::new(
        InstancesSource::new(name.clone(), left_outs, visibility),
        sender.clone(),
        watches.outages.clone(),
        watches.cache().and_then(|cache| cache.service(&name)),
    );
    let mut modes = watches.mode.subscribe();
    let mut mode = *modes.borrow_and_update();
    let mut due = true;
    // When the latest answer was asked for.
    let mut fetched = None;
    let mut refresh = Instant::now();
    loop {
        let expiry = query.expiry();
        let turn = async {
            if mode == Mode::PerService {
                query.ready().await;
                query.wait(&watches.client).await;
                return;
            }
            if !due {
                loop {
                    tokio::select! {
                        () = news.wake.notified() => {}
                        () = sleep_until(refresh) => break,
                    }
                    // News that came while it waited for its turn to ask is answered already.
                    if fetched.is_none_or(|fetched| fetched <= *news.since.lock()) {
                        break;
                    }
                }
                // Noted outside of this future: should it be dropped, the news is not lost.
                due = true;
            }
            query.ready().await;
            let _permit = watches.fetches.acquire().await;
            let started = Instant::now();
            if query.fetch(&watches.client).await {
                due = false;
                fetched = Some(started);
                refresh = Instant::now() + REFRESH.mul_f64(rand::random_range(0.9..1.1));
            }
        };
        tokio::select! {
            () = watches.stop.cancelled() => return,
            () = sender.closed() => if watches.forget_service(&name) { return },
            () = expiry => query.expire(),
            _ = modes.changed() => {
                let before = std::mem::replace(&mut mode, *modes.borrow_and_update());
                if outages(before).is_some_and(|before| outages(mode).is_some_and(|n| n != before)) {
                    query.mark_outage();
                }
                due |= !matches!(mode, Mode::Bulk { unreachable: true, .. });
            }
            () = turn => watches.note(query.index()),
        }
    }
}

fn outages(mode: Mode) -> Option<u64> {
    match mode {
        Mode::PerService => None,
        Mode::Bulk { outages, .. } => Some(outages),
    }
}
