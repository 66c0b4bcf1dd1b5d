//! The task that follows the directory: a service that changes is asked again, and no other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use backoff::{Backoff, Pauses};
use directory::{DirectorySnapshot, Service};
use discovery::ServiceKind;
use service::ToolSettings;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{debug, info};

use super::{
    ToolSettingsSource,
    build::{Builder, ServiceTools},
    methods::{Exposure, MOUNT},
    mounts,
    publish::Publisher,
    snapshot::CatalogSnapshot,
};

/// How many services are asked at a time.
const AT_A_TIME: usize = 16;
/// Changes that come within this time are published together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Once the directory is complete, services that do not answer within this time are not waited for.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Pauses between two questions to a service that does not answer.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 0.2);

/// What is known of one service.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) service: Arc<Service>,
    pub(super) exposure: Arc<Exposure>,
    /// What its instances told last.
    pub(super) built: Option<Arc<ServiceTools>>,
    settings: ToolSettings,
    /// What the last question was about, and its number.
    asked: Option<Question>,
    number: u64,
    asking: Option<AbortHandle>,
    /// Hears of changes of a mount's lists.
    listening: Option<AbortHandle>,
    /// When to ask again because something was missing.
    again: Option<Instant>,
    pauses: Pauses,
}

/// What has to change for a service to be asked again.
#[derive(Clone, Debug, PartialEq)]
struct Question {
    kind: ServiceKind,
    public_id: String,
    generation: String,
    grpc_services: Vec<String>,
    settings: ToolSettings,
    is_serving: bool,
}

impl Entry {
    pub(super) fn is_mount(&self) -> bool {
        self.service.grpc_services.iter().any(|name| name == MOUNT)
    }

    fn end(self) {
        for task in [self.asking, self.listening].into_iter().flatten() {
            task.abort();
        }
    }

    /// Whether it is time to ask again.
    fn is_due(&self, now: Instant) -> bool {
        self.is_settled() && self.again.is_some_and(|again| again <= now)
    }

    /// Whether no question to it is open.
    const fn is_settled(&self) -> bool {
        self.asking.is_none()
    }
}

/// Follows the directory for ever.
#[derive(Debug)]
pub(super) struct Follower {
    builder: Arc<Builder>,
    settings: Arc<dyn ToolSettingsSource>,
    publisher: Publisher,
    current: Arc<ArcSwap<CatalogSnapshot>>,
    changes: watch::Sender<Arc<CatalogSnapshot>>,
    entries: BTreeMap<Arc<str>, Entry>,
    builds: JoinSet<(Arc<str>, u64, ServiceTools)>,
    permits: Arc<Semaphore>,
    listeners: JoinSet<()>,
    /// Mounts whose lists have changed.
    mounts: (mpsc::Sender<Arc<str>>, mpsc::Receiver<Arc<str>>),
    questions: u64,
    ready: bool,
    /// When to publish what has changed.
    due: Option<Instant>,
    /// Until when services are waited for before the first list.
    patience: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        builder: Builder,
        settings: Arc<dyn ToolSettingsSource>,
        publisher: Publisher,
        current: Arc<ArcSwap<CatalogSnapshot>>,
        changes: watch::Sender<Arc<CatalogSnapshot>>,
    ) -> Self {
        Self {
            builder: Arc::new(builder),
            settings,
            publisher,
            current,
            changes,
            entries: BTreeMap::new(),
            builds: JoinSet::new(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            listeners: JoinSet::new(),
            mounts: mpsc::channel(AT_A_TIME),
            questions: 0,
            ready: false,
            due: None,
            patience: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut directory = self.builder.directory.changes();
        let mut settings = self.settings.changes();
        let (mut has_directory, mut has_settings) = (true, true);
        let mut known = Arc::clone(&directory.borrow_and_update());
        self.apply(&known, false);
        let builder = Arc::clone(&self.builder);
        // It goes on from one round to the next.
        let mut sets = Box::pin(builder.sets.changed());
        loop {
            let now = Instant::now();
            self.ask_again(|entry| entry.is_due(now));
            self.settle(&known, now);
            if self.due.is_some_and(|due| due <= now) {
                self.publish();
            }
            let next = self.next_deadline();
            // Every arm is cancel-safe: what is not taken now is taken in the next round.
            tokio::select! {
                changed = directory.changed(), if has_directory => {
                    has_directory = changed.is_ok();
                    known = Arc::clone(&directory.borrow_and_update());
                    self.apply(&known, false);
                }
                changed = settings.changed(), if has_settings => {
                    has_settings = changed.is_ok();
                    settings.borrow_and_update();
                    self.apply(&known, true);
                }
                Some(built) = self.builds.join_next() => {
                    // A question that was dropped has no answer.
                    if let Ok((name, number, tools)) = built {
                        self.take(&name, number, tools);
                    }
                }
                Some(name) = self.mounts.1.recv() => {
                    self.ask_again(|entry| entry.service.name == name);
                }
                Some(_) = self.listeners.join_next() => {}
                () = &mut sets => {
                    sets.set(builder.sets.changed());
                    // They may describe any service.
                    self.ask_again(|_| true);
                }
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }

    /// The directory has changed, or the settings have: then every service is looked at.
    fn apply(&mut self, snapshot: &DirectorySnapshot, settings: bool) {
        let mut gone: Vec<Arc<str>> = self.entries.keys().cloned().collect();
        gone.retain(|name| snapshot.by_name(name).is_none());
        for name in gone {
            if let Some(entry) = self.entries.remove(&name) {
                info!(service = %name, "its tools have left");
                entry.end();
            }
        }
        let services: Vec<_> = snapshot.services().cloned().collect();
        for service in services {
            let known = self.entries.get(&service.name);
            // Most services are the same value as before.
            let same = known.is_some_and(|known| Arc::ptr_eq(&known.service, &service));
            if settings || !same {
                self.apply_service(service);
            }
        }
        self.change();
    }

    fn apply_service(&mut self, service: Arc<Service>) {
        let settings = self.settings.of(&service);
        let entry = self.entries.entry(Arc::clone(&service.name));
        let entry = entry.or_insert_with(|| Entry {
            service: Arc::clone(&service),
            exposure: Arc::new(Exposure::new(settings.clone(), service.kind)),
            built: None,
            settings: settings.clone(),
            asked: None,
            number: 0,
            asking: None,
            listening: None,
            again: None,
            pauses: Pauses::new(BACKOFF),
        });
        if entry.settings != settings || entry.service.kind != service.kind {
            entry.exposure = Arc::new(Exposure::new(settings.clone(), service.kind));
            entry.settings = settings;
        }
        entry.service = service;
        let listens = entry.is_mount() && entry.service.is_serving() && !entry.exposure.is_off();
        match (&entry.listening, listens) {
            (None, true) => {
                let mesh = self.builder.directory.mesh().clone();
                let (name, changed) = (Arc::clone(&entry.service.name), self.mounts.0.clone());
                let listening = mounts::listen(mesh, name, changed);
                entry.listening = Some(self.listeners.spawn(listening));
            }
            (Some(listening), false) => {
                listening.abort();
                entry.listening = None;
            }
            (None, false) | (Some(_), true) => {}
        }
        let known = &entry.service;
        let question = Question {
            kind: known.kind,
            public_id: known.public_id.clone(),
            generation: known.generation.clone(),
            grpc_services: known.grpc_services.clone(),
            settings: entry.settings.clone(),
            is_serving: known.is_serving(),
        };
        if entry.asked.as_ref() != Some(&question) {
            entry.pauses.reset();
            let name = Arc::clone(&known.name);
            self.ask(&name, question, false);
        }
    }

    /// Asks a service what it offers. What it told before stays until it answers.
    fn ask(&mut self, name: &Arc<str>, question: Question, once_more: bool) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if let Some(asking) = entry.asking.take() {
            asking.abort();
        }
        entry.again = None;
        self.questions += 1;
        let number = self.questions;
        let is_serving = question.is_serving;
        (entry.asked, entry.number) = (Some(question), number);
        if entry.exposure.is_off() {
            entry.built = Some(Arc::default());
            return;
        }
        if !is_serving {
            let unknown = entry.service.snapshot.is_none();
            // An instance that the registry has not told of yet may be well.
            if !unknown {
                entry.built = Some(Arc::new(ServiceTools::nothing("no instance is healthy")));
            }
            return;
        }
        debug!(service = %name, "asking what it offers");
        let (builder, permits) = (Arc::clone(&self.builder), Arc::clone(&self.permits));
        let (service, exposure) = (Arc::clone(&entry.service), Arc::clone(&entry.exposure));
        let name = Arc::clone(name);
        entry.asking = Some(self.builds.spawn(async move {
            // Closed never.
            let _permit = permits.acquire_owned().await;
            if once_more {
                service.forget_failures().await;
            }
            let tools = builder.build(&service, &exposure).await;
            (name, number, tools)
        }));
    }

    /// A service has answered.
    fn take(&mut self, name: &Arc<str>, number: u64, tools: ServiceTools) {
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if entry.number != number {
            return;
        }
        entry.asking = None;
        match &tools.problem {
            Some(problem) => {
                info!(service = %name, problem, "tools of the service are missing");
                let pause = entry.pauses.after_failure(&mut rand::rng());
                entry.again = Some(Instant::now() + pause);
            }
            None => entry.pauses.reset(),
        }
        entry.built = Some(Arc::new(tools));
        self.change();
    }

    /// Asks those services again of which this is so.
    fn ask_again(&mut self, is_wanted: impl Fn(&Entry) -> bool) {
        let wanted = self.entries.iter().filter(|(_, entry)| is_wanted(entry));
        let wanted: Vec<_> = wanted
            .filter_map(|(name, entry)| Some((Arc::clone(name), entry.asked.clone()?)))
            .collect();
        for (name, question) in wanted {
            self.ask(&name, question, true);
        }
    }

    /// Whether the first list is complete.
    fn settle(&mut self, known: &DirectorySnapshot, now: Instant) {
        if self.ready || !known.ready() {
            return;
        }
        let patience = *self.patience.get_or_insert(now + PATIENCE);
        if patience <= now || self.entries.values().all(Entry::is_settled) {
            self.ready = true;
            debug!(services = self.entries.len(), "catalog is complete");
            self.publish();
        }
    }

    fn change(&mut self) {
        self.due.get_or_insert(Instant::now() + TOGETHER);
    }

    fn publish(&mut self) {
        self.due = None;
        if let Some(snapshot) = self.publisher.publish(&self.entries, self.ready) {
            self.current.store(Arc::clone(&snapshot));
            self.changes.send_replace(snapshot);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let again = self.entries.values().filter(|entry| entry.is_settled());
        let again = again.filter_map(|entry| entry.again);
        let patience = self.patience.filter(|_| !self.ready);
        again.chain(self.due).chain(patience).min()
    }
}
