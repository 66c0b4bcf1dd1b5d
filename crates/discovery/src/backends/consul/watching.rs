//! Owns the watches: one task per name, which ends with its last receiver.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::Client,
    entries::Written,
    feed::{Feed, Instances, Names, Source},
    outage::Outages,
    overseer,
};
use crate::{Catalog, Entries, Snapshot};

/// Above this many services one watch on all checks says what to fetch. Consul lets one client
/// address hold 200 connections, and each blocking query holds one.
const MANY: usize = 100;
/// How many services are fetched at the same time when there are many.
const FETCHES: usize = 8;
/// How often each of many services is fetched without being told to: checks show neither `Meta`
/// nor a service without any check.
const REFRESH: Duration = Duration::from_secs(60);

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
    state: Mutex<State>,
    fetches: Semaphore,
    runtime: Handle,
    tasks: TaskTracker,
}

/// What there is one of, while somebody watches it.
type Single<T> = Option<Arc<watch::Sender<Option<Arc<T>>>>>;

#[derive(Default)]
struct State {
    catalog: Single<Catalog>,
    entries: Single<Entries>,
    services: HashMap<Arc<str>, Watched>,
    overseen: bool,
}

#[derive(Clone)]
struct Watched {
    sender: Arc<watch::Sender<Option<Arc<Snapshot>>>>,
    news: Arc<Notify>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("mode", &*self.mode.borrow())
            .finish_non_exhaustive()
    }
}

impl Watching {
    pub(super) fn new(client: Arc<Client>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            client,
            outages: Outages::default(),
            mode: watch::channel(Mode::Each).0,
            stop: CancellationToken::new(),
            state: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            runtime,
            tasks: TaskTracker::new(),
        })
    }

    /// Ends every task, at its next await.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn catalog(self: &Arc<Self>) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.single(Names, |state| &mut state.catalog)
    }

    pub(super) fn entries(self: &Arc<Self>) -> watch::Receiver<Option<Arc<Entries>>> {
        self.single(Written, |state| &mut state.entries)
    }

    fn single<S: Source>(
        self: &Arc<Self>,
        source: S,
        place: fn(&mut State) -> &mut Single<S::Value>,
    ) -> watch::Receiver<Option<Arc<S::Value>>> {
        let mut state = self.state.lock();
        if let Some(sender) = place(&mut state) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *place(&mut state) = Some(sender.clone());
        let follow = follow_single(self.clone(), source, sender, place);
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
            news: Arc::default(),
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

    /// Tells those services that have news.
    pub(super) fn tell(&self, has_news: impl Fn(&str) -> bool) {
        let state = self.state.lock();
        for (name, watched) in &state.services {
            if has_news(name) {
                watched.news.notify_one();
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
    source: S,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    place: fn(&mut State) -> &mut Single<S::Value>,
) {
    let mut feed = Feed::new(source, sender.clone(), watching.outages.clone());
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
    }
}

async fn follow_service(watching: Arc<Watching>, name: Arc<str>, watched: Watched) {
    let Watched { sender, news } = watched;
    let mut feed = Feed::new(
        Instances(name.clone()),
        sender.clone(),
        watching.outages.clone(),
    );
    let mut modes = watching.mode.subscribe();
    let mut mode = *modes.borrow_and_update();
    let mut due = true;
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
                tokio::select! {
                    () = news.notified() => {}
                    () = sleep_until(refresh) => {}
                }
                // Noted outside of this future: should it be dropped, the news is not lost.
                due = true;
            }
            feed.ready().await;
            let _permit = watching.fetches.acquire().await;
            if feed.fetch(&watching.client).await {
                due = false;
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
            () = turn => {}
        }
    }
}

fn outages(mode: Mode) -> Option<u64> {
    match mode {
        Mode::Each => None,
        Mode::Told { outages, .. } => Some(outages),
    }
}
