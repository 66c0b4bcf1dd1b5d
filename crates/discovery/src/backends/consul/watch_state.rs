//! What is watched, as every task of a backend sees it.

use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{cache::KnownState, client::ConsulApi};
use crate::{Catalog, KvEntries, Snapshot, backends::outage::Outages};

/// Above this many services one bulk watch replaces one blocking query per service. Consul accepts
/// 200 connections from one client address, and each blocking query holds one.
const MAX_SERVICE_QUERIES: usize = 100;

/// How services learn of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Each service by a blocking query of its own.
    PerService,
    /// From the bulk watcher. Every value sent while Consul is reachable makes all services fetch.
    Bulk {
        /// Counts outages, at their start.
        outages: u64,
        /// Whether Consul is unreachable now: fetching is pointless.
        unreachable: bool,
    },
}

/// Shared by the tasks of one backend.
pub(super) struct WatchState {
    pub(super) client: Arc<ConsulApi>,
    pub(super) outages: Outages,
    pub(super) mode: watch::Sender<Mode>,
    pub(super) stop: CancellationToken,
    /// The catalog's index: it moves when any registration changes.
    pub(super) catalog_index: watch::Sender<u64>,
    /// Notified when something may have to be written to the cache.
    pub(super) changed: Arc<Notify>,
    table: Mutex<Table>,
}

pub(super) type Sender<T> = Arc<watch::Sender<Option<Arc<T>>>>;
pub(super) type Receiver<T> = watch::Receiver<Option<Arc<T>>>;

/// A watch that exists once, while somebody subscribes to it.
pub(super) type Single<T> = Option<Sender<T>>;

#[derive(Default)]
pub(super) struct Table {
    pub(super) catalog: Single<Catalog>,
    pub(super) entries: Single<KvEntries>,
    services: HashMap<Arc<str>, ServiceWatch>,
    bulk_watched: bool,
    /// Whether the resync task runs.
    resyncing: bool,
}

/// The watch of one service.
#[derive(Clone)]
pub(super) struct ServiceWatch {
    pub(super) sender: Sender<Snapshot>,
    pub(super) news: Arc<News>,
}

/// Tells the task of a service that the service changed, and when that was noticed.
pub(super) struct News {
    pub(super) wake: Notify,
    pub(super) since: Mutex<Instant>,
}

/// A service that is watched from now on, and which tasks have to be started for it.
pub(super) struct NewService {
    pub(super) name: Arc<str>,
    pub(super) watch: ServiceWatch,
    pub(super) start_bulk_watch: bool,
    pub(super) start_resync: bool,
}

impl fmt::Debug for WatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchState")
            .field("mode", &*self.mode.borrow())
            .finish_non_exhaustive()
    }
}

impl WatchState {
    pub(super) fn new(client: Arc<ConsulApi>) -> Arc<Self> {
        Arc::new(Self {
            client,
            outages: Outages::default(),
            mode: watch::channel(Mode::PerService).0,
            stop: CancellationToken::new(),
            catalog_index: watch::channel(0).0,
            changed: Arc::new(Notify::new()),
            table: Mutex::default(),
        })
    }

    /// The last known values of everything that is watched.
    pub(super) fn known(&self) -> KnownState {
        let table = self.table.lock();
        let services = table.services.iter();
        KnownState {
            catalog: current(&table.catalog),
            entries: current(&table.entries),
            services: services
                .filter_map(|(name, watch)| Some((name.clone(), watch.sender.borrow().clone()?)))
                .collect(),
        }
    }

    /// Subscribes to a single watch; the sender is there when the caller has to start it.
    pub(super) fn subscribe<T>(
        &self,
        place: fn(&mut Table) -> &mut Single<T>,
    ) -> (Receiver<T>, Option<Sender<T>>) {
        let mut table = self.table.lock();
        let single = place(&mut table);
        if let Some(sender) = single {
            return (sender.subscribe(), None);
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        *single = Some(sender.clone());
        (receiver, Some(sender))
    }

    /// Subscribes to a service; one that is new has to be started by the caller.
    pub(super) fn subscribe_service(
        &self,
        service: &str,
    ) -> (Receiver<Snapshot>, Option<NewService>) {
        let mut table = self.table.lock();
        if let Some(watch) = table.services.get(service) {
            return (watch.sender.subscribe(), None);
        }
        let (sender, receiver) = watch::channel(None);
        let watch = ServiceWatch {
            sender: Arc::new(sender),
            news: Arc::new(News {
                wake: Notify::new(),
                since: Mutex::new(Instant::now()),
            }),
        };
        let name: Arc<str> = service.into();
        table.services.insert(name.clone(), watch.clone());
        let mut new = NewService {
            name,
            watch,
            start_bulk_watch: false,
            start_resync: false,
        };
        if table.services.len() > MAX_SERVICE_QUERIES && !table.bulk_watched {
            table.bulk_watched = true;
            self.mode.send_replace(Mode::Bulk {
                outages: 0,
                unreachable: false,
            });
            new.start_bulk_watch = true;
            new.start_resync = !std::mem::replace(&mut table.resyncing, true);
        }
        (receiver, Some(new))
    }

    /// Ends the bulk watch when few enough services are left; returns whether it did.
    pub(super) fn end_bulk_watch(&self) -> bool {
        let mut table = self.table.lock();
        if table.services.len() > MAX_SERVICE_QUERIES {
            return false;
        }
        table.bulk_watched = false;
        self.mode.send_replace(Mode::PerService);
        true
    }

    /// Ends the resync when the bulk watch has ended; returns whether it did.
    pub(super) fn end_resync(&self) -> bool {
        let mut table = self.table.lock();
        if !table.bulk_watched {
            table.resyncing = false;
        }
        !table.bulk_watched
    }

    /// Wakes the tasks of the services that changed.
    pub(super) fn wake(&self, has_changed: impl Fn(&str) -> bool) {
        let (table, now) = (self.table.lock(), Instant::now());
        for (name, watch) in &table.services {
            if has_changed(name) {
                *watch.news.since.lock() = now;
                watch.news.wake.notify_one();
            }
        }
    }

    /// Removes a single watch that has no receiver; returns whether it did. The lock decides
    /// between this and a subscription at the same time.
    pub(super) fn forget_single<T>(&self, place: fn(&mut Table) -> &mut Single<T>) -> bool {
        let mut table = self.table.lock();
        let single = place(&mut table);
        let unused = single.as_deref().is_none_or(is_unused);
        if unused {
            *single = None;
        }
        unused
    }

    /// As [`WatchState::forget_single`], for the watch of a service.
    pub(super) fn forget_service(&self, name: &str) -> bool {
        let mut table = self.table.lock();
        let watch = table.services.get(name);
        let unused = watch.is_none_or(|watch| is_unused(&watch.sender));
        if unused {
            table.services.remove(name);
        }
        unused
    }
}

fn current<T>(single: &Single<T>) -> Option<Arc<T>> {
    single.as_ref()?.borrow().clone()
}

fn is_unused<T>(sender: &watch::Sender<T>) -> bool {
    sender.receiver_count() == 0
}
