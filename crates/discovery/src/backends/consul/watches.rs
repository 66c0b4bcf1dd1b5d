//! Starts and ends the watches: one task per service, which ends with its last receiver.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use super::{
    blocking_query::{BlockingQuery, Source},
    bulk_watcher,
    cache::{self, Cache},
    client::ConsulApi,
    kv::KvSource,
    resync,
    sources::{CatalogSource, InstancesSource},
    visibility::Visibility,
    watch_state::{Mode, Receiver, Sender, ServiceWatch, Single, Table, WatchState},
};
use crate::{Catalog, Error, KvEntries, RegistryStatus, Snapshot, status::LeftOuts};

/// How many services are fetched at the same time during a bulk watch.
const CONCURRENT_FETCHES: usize = 8;
/// How often a service is fetched during a bulk watch although nothing told of a change: a resync
/// does not show that a node changed its address.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// All watches of one backend.
#[derive(Debug)]
pub(super) struct Watches {
    state: Arc<WatchState>,
    /// Whether Consul has answered once; until then the cache is what is shown.
    answered: AtomicBool,
    left_outs: LeftOuts,
    visibility: Arc<Visibility>,
    cache: Option<Arc<Cache>>,
    fetches: Semaphore,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What the cache holds for a source.
type CachedItems<S> = Option<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

impl Watches {
    pub(super) fn new(client: Arc<ConsulApi>, runtime: Handle, cache: Option<Cache>) -> Arc<Self> {
        let watches = Arc::new(Self {
            state: WatchState::new(client),
            answered: AtomicBool::new(false),
            left_outs: LeftOuts::default(),
            visibility: Arc::default(),
            cache: cache.map(Arc::new),
            fetches: Semaphore::new(CONCURRENT_FETCHES),
            runtime,
            tasks: TaskTracker::new(),
        });
        if let Some(cache) = &watches.cache {
            let state = watches.state.clone();
            let (changed, stop) = (state.changed.clone(), state.stop.clone());
            watches.spawn(cache::persist(cache.clone(), changed, stop, move || {
                state.known()
            }));
        }
        watches
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Why Consul gives no answers; `None` while it does.
    pub(super) fn error(&self) -> Option<Error> {
        self.state.outages.error()
    }

    pub(super) fn hides(&self, service: &str) -> bool {
        self.visibility.is_hidden(service)
    }

    pub(super) fn status(&self) -> RegistryStatus {
        RegistryStatus {
            error: self.error().map(|error| error.to_string()),
            cached_seconds: (!self.answered.load(Ordering::Relaxed))
                .then(|| self.cache.as_ref()?.age())
                .flatten(),
            left_out: self.left_outs.list(),
            hidden: self.visibility.hidden(),
            answers: self.state.client.answers.list(),
            last_answer: self.state.client.answers.last_answer(),
        }
    }

    /// Notes that a query was answered as of an index; 0 when it was not answered.
    fn note(&self, index: u64) {
        if index > 0 {
            self.answered.store(true, Ordering::Relaxed);
        }
        self.state.changed.notify_one();
    }

    /// Ends every task, at its next await.
    pub(super) fn stop(&self) {
        self.state.stop.cancel();
    }

    pub(super) fn catalog(self: &Arc<Self>) -> Receiver<Catalog> {
        let left_outs = self.left_outs.clone();
        let cached = self.cache.as_deref().and_then(Cache::catalog);
        let source = CatalogSource { left_outs };
        self.single(source, cached, |table| &mut table.catalog)
    }

    pub(super) fn entries(self: &Arc<Self>) -> Receiver<KvEntries> {
        let cached = self.cache.as_deref().and_then(Cache::entries);
        self.single(KvSource, cached, |table| &mut table.entries)
    }

    fn single<S: Source>(
        self: &Arc<Self>,
        source: S,
        cached: CachedItems<S>,
        place: fn(&mut Table) -> &mut Single<S::Value>,
    ) -> Receiver<S::Value> {
        let (receiver, new) = self.state.subscribe(place);
        if let Some(sender) = new {
            let outages = self.state.outages.clone();
            let query = BlockingQuery::new(source, sender.clone(), outages, cached);
            self.spawn(follow_single(self.clone(), query, sender, place));
        }
        receiver
    }

    pub(super) fn service(self: &Arc<Self>, service: &str) -> Receiver<Snapshot> {
        let (receiver, new) = self.state.subscribe_service(service);
        if let Some(new) = new {
            if new.start_bulk_watch {
                self.spawn(bulk_watcher::run(self.state.clone()));
            }
            if new.start_resync {
                self.spawn(resync::run(self.state.clone(), self.catalog()));
            }
            self.spawn(follow_service(self.clone(), new.name, new.watch));
        }
        receiver
    }
}

async fn follow_single<S: Source>(
    watches: Arc<Watches>,
    mut query: BlockingQuery<S>,
    sender: Sender<S::Value>,
    place: fn(&mut Table) -> &mut Single<S::Value>,
) {
    let state = &watches.state;
    loop {
        let expiry = query.expiry();
        let turn = async {
            query.ready().await;
            query.wait(&state.client).await;
        };
        tokio::select! {
            () = state.stop.cancelled() => return,
            () = sender.closed() => if state.forget_single(place) { return },
            () = expiry => query.expire(),
            () = turn => {}
        }
        if S::IS_CATALOG && query.index() > 0 {
            state.catalog_index.send_replace(query.index());
        }
        watches.note(query.index());
    }
}

async fn follow_service(watches: Arc<Watches>, name: Arc<str>, watch: ServiceWatch) {
    let ServiceWatch { sender, news } = watch;
    let state = &watches.state;
    let (left_outs, visibility) = (watches.left_outs.clone(), watches.visibility.clone());
    let mut query = BlockingQuery::new(
        InstancesSource::new(name.clone(), left_outs, visibility),
        sender.clone(),
        state.outages.clone(),
        watches
            .cache
            .as_ref()
            .and_then(|cache| cache.service(&name)),
    );
    let mut modes = state.mode.subscribe();
    let mut mode = *modes.borrow_and_update();
    let mut due = true;
    // When the query of the latest answer was sent.
    let mut fetched = None;
    let mut refresh = Instant::now();
    loop {
        let expiry = query.expiry();
        let turn = async {
            if mode == Mode::PerService {
                query.ready().await;
                query.wait(&state.client).await;
                return;
            }
            if !due {
                loop {
                    tokio::select! {
                        () = news.wake.notified() => {}
                        () = sleep_until(refresh) => break,
                    }
                    // The latest answer already has news that came while its query waited.
                    if fetched.is_none_or(|fetched| fetched <= *news.since.lock()) {
                        break;
                    }
                }
                // Kept outside of this future: dropping it must not lose the news.
                due = true;
            }
            query.ready().await;
            let _permit = watches.fetches.acquire().await;
            let started = Instant::now();
            if query.fetch(&state.client).await {
                due = false;
                fetched = Some(started);
                refresh = Instant::now() + REFRESH_INTERVAL.mul_f64(rand::random_range(0.9..1.1));
            }
        };
        tokio::select! {
            () = state.stop.cancelled() => return,
            () = sender.closed() => if state.forget_service(&name) { return },
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
