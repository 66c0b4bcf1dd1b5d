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
    cache::{Cache, Known, keep},
    client::Client,
    entries::Written,
    feed::{Feed, Instances, Names, Source},
    outage::Outages,
    overseer,
    sight::Sight,
    sweep,
};
use crate::{Catalog, Entries, Report, Snapshot, report::LeftOuts};

/// Above this many services one watch on all checks says what to fetch. Consul lets one client
/// address hold 200 connections, and each blocking query holds one.
const MANY: usize = 100;
/// How many services are fetched at the same time when there are many.
const FETCHES: usize = 8;
/// How often each of many services is fetched without being told to: a sweep does not show the
/// address of a node, which is that of its instances without one.
const REFRESH: Duration = Duration::from_secs(300);

/// How services learn that they have news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each by a blocking query of its own.
    Each,
    /// From the overseer. Each value sent with Consul there makes all services fetch.
    Told {
        /// Moves with every outage, at its start.
        outages: u64,
        /// Whether Consul is away now, so that fetching is of no use.
        away: bool,
    },
}

/// All watches of one backend.
pub(super) struct Watching {
    pub(super) client: Arc<Client>,
    pub(super) outages: Outages,
    pub(super) mode: watch::Sender<Mode>,
    pub(super) stop: CancellationToken,
    /// The index of the catalog: moves whenever any registration changes.
    pub(super) moved: watch::Sender<u64>,
    /// Whether Consul has answered once: until then what is shown is remembered.
    answered: AtomicBool,
    /// Wakes who keeps what is known on the disk.
    pub(super) news: Notify,
    left_outs: LeftOuts,
    sight: Arc<Sight>,
    cache: Option<Cache>,
    state: Mutex<State>,
    fetches: Semaphore,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What the disk remembers of a source.
type Remembered<S> = Option<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

/// What there is one of, while somebody watches it.
type Single<T> = Option<Arc<watch::Sender<Option<Arc<T>>>>>;

#[derive(Default)]
struct State {
    catalog: Single<Catalog>,
    entries: Single<Entries>,
    services: HashMap<Arc<str>, Watched>,
    overseen: bool,
    /// Whether the task that sweeps is running.
    sweeping: bool,
}

#[derive(Clone)]
struct Watched {
    sender: Arc<watch::Sender<Option<Arc<Snapshot>>>>,
    news: Arc<News>,
}

/// That a service has news, and since when it is known.
struct News {
    wake: Notify,
    since: Mutex<Instant>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("mode", &*self.mode.borrow())
            .finish_non_exhaustive()
    }
}

impl Watching {
    pub(super) fn new(client: Arc<Client>, runtime: Handle, cache: Option<Cache>) -> Arc<Self> {
        let watching = Arc::new(Self {
            client,
            moved: watch::channel(0).0,
            answered: AtomicBool::new(false),
            news: Notify::new(),
            left_outs: LeftOuts::default(),
            sight: Arc::default(),
            cache,
            outages: Outages::default(),
            mode: watch::channel(Mode::Each).0,
            stop: CancellationToken::new(),
            state: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            runtime,
            tasks: TaskTracker::new(),
        });
        if watching.cache.is_some() {
            let keep = keep(watching.clone());
            watching.tasks.spawn_on(keep, &watching.runtime);
        }
        watching
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    pub(super) fn report(&self) -> Report {
        Report {
            trouble: self.outages.trouble(),
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
    pub(super) fn known(&self) -> Known {
        let state = self.state.lock();
        let value = |single: &Single<Catalog>| single.as_ref()?.borrow().clone();
        let entries = state.entries.as_ref();
        let services = state.services.iter();
        Known {
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
        let remembered = self.cache.as_ref().and_then(Cache::catalog);
        let source = Names { left_outs };
        self.single(source, remembered, |state| &mut state.catalog)
    }

    pub(super) fn entries(self: &Arc<Self>) -> watch::Receiver<Option<Arc<Entries>>> {
        let remembered = self.cache.as_ref().and_then(Cache::entries);
        self.single(Written, remembered, |state| &mut state.entries)
    }

    fn single<S: Source>(
        self: &Arc<Self>,
        source: S,
        remembered: Remembered<S>,
        place: fn(&mut State) -> &mut Single<S::Value>,
    ) -> watch::Receiver<Option<Arc<S::Value>>> {
        let mut state = self.state.lock();
        if let Some(sender) = place(&mut state) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *place(&mut state) = Some(sender.clone());
        let feed = Feed::new(source, sender.clone(), self.outages.clone(), remembered);
        let follow = follow_single(self.clone(), feed, sender, place);
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
        let watched = Watched {
            sender: Arc::new(sender),
            news: Arc::new(News {
                wake: Notify::new(),
                since: Mutex::new(Instant::now()),
            }),
        };
        let name: Arc<str> = service.into();
        state.services.insert(name.clone(), watched.clone());
        if state.services.len() > MANY && !state.overseen {
            state.overseen = true;
            self.mode.send_replace(Mode::Told {
                outages: 0,
                away: false,
            });
            self.tasks
                .spawn_on(overseer::oversee(self.clone()), &self.runtime);
            if !std::mem::replace(&mut state.sweeping, true) {
                self.tasks
                    .spawn_on(sweep::sweep(self.clone()), &self.runtime);
            }
        }
        self.tasks
            .spawn_on(follow_service(self.clone(), name, watched), &self.runtime);
        receiver
    }

    /// Ends the oversight when few enough services are left, and answers whether it did.
    pub(super) fn end_oversight(&self) -> bool {
        let mut state = self.state.lock();
        if state.services.len() > MANY {
            return false;
        }
        state.overseen = false;
        self.mode.send_replace(Mode::Each);
        true
    }

    /// Ends the sweeps when the oversight has ended, and answers whether it did.
    pub(super) fn end_sweeps(&self) -> bool {
        let mut state = self.state.lock();
        if !state.overseen {
            state.sweeping = false;
        }
        !state.overseen
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
    /// [`Watching::forget_service`], the lock decides: subscribing and forgetting both hold it.
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
    watching: Arc<Watching>,
    mut feed: Feed<S>,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    place: fn(&mut State) -> &mut Single<S::Value>,
) {
    loop {
        let expiry = feed.expiry();
        let turn = async {
            feed.ready().await;
            feed.wait(&watching.client).await;
        };
        tokio::select! {
            () = watching.stop.cancelled() => return,
            () = sender.closed() => if watching.forget_single(place) { return },
            () = expiry => feed.expire(),
            () = turn => {}
        }
        if S::IS_CATALOG && feed.index() > 0 {
            watching.moved.send_replace(feed.index());
        }
        watching.note(feed.index());
    }
}

async fn follow_service(watching: Arc<Watching>, name: Arc<str>, watched: Watched) {
    let Watched { sender, news } = watched;
    let (left_outs, sight) = (watching.left_outs.clone(), watching.sight.clone());
    let mut feed = Feed::new(
        Instances::new(name.clone(), left_outs, sight),
        sender.clone(),
        watching.outages.clone(),
        watching.cache().and_then(|cache| cache.service(&name)),
    );
    let mut modes = watching.mode.subscribe();
    let mut mode = *modes.borrow_and_update();
    let mut due = true;
    // When the latest answer was asked for.
    let mut fetched = None;
    let mut refresh = Instant::now();
    loop {
        let expiry = feed.expiry();
        let turn = async {
            if mode == Mode::Each {
                feed.ready().await;
                feed.wait(&watching.client).await;
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
            feed.ready().await;
            let _permit = watching.fetches.acquire().await;
            let started = Instant::now();
            if feed.fetch(&watching.client).await {
                due = false;
                fetched = Some(started);
                refresh = Instant::now() + REFRESH.mul_f64(rand::random_range(0.9..1.1));
            }
        };
        tokio::select! {
            () = watching.stop.cancelled() => return,
            () = sender.closed() => if watching.forget_service(&name) { return },
            () = expiry => feed.expire(),
            _ = modes.changed() => {
                let before = std::mem::replace(&mut mode, *modes.borrow_and_update());
                if outages(before).is_some_and(|before| outages(mode).is_some_and(|n| n != before)) {
                    feed.disturb();
                }
                due |= !matches!(mode, Mode::Told { away: true, .. });
            }
            () = turn => watching.note(feed.index()),
        }
    }
}

fn outages(mode: Mode) -> Option<u64> {
    match mode {
        Mode::Each => None,
        Mode::Told { outages, .. } => Some(outages),
    }
}
