//! The task that follows the registry: one watch per service, and a new [`DirectorySnapshot`] per change.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use channel::Mesh;
use discovery::{Catalog, Discovery, Snapshot};
use futures_util::future::select_ok;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, sleep_until, timeout},
};
use tracing::{debug, info};

use crate::{DirectorySnapshot, QUERY_TIMEOUT, Service, descriptors};

/// The capacity of the channel of updates. Senders wait when it is full.
const UPDATES: usize = 64;
/// After this time the first snapshot counts as complete although a service is missing.
const SETTLE: Duration = Duration::from_secs(5);
/// When to look again whether the registry is well.
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How many instances are asked at a time.
const PROBE_CONCURRENCY: usize = 3;
/// Pauses between two attempts to ask a service for its reflection.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Follows the registry for ever.
pub(crate) async fn follow(
    mesh: Mesh,
    current: Arc<ArcSwap<DirectorySnapshot>>,
    changes: watch::Sender<Arc<DirectorySnapshot>>,
) {
    let (sender, mut updates) = mpsc::channel(UPDATES);
    let mut catalog = mesh.discovery().catalog();
    let mut table = ServiceTable {
        mesh,
        sender,
        tasks: JoinSet::new(),
        entries: BTreeMap::new(),
    };
    let (mut open, mut ready, mut settle) = (true, false, None);
    let first = catalog.borrow_and_update().clone();
    let mut known = first.is_some();
    if let Some(catalog) = first {
        table.apply_catalog(&catalog);
    }
    loop {
        if known && settle.is_none() {
            settle = Some(tokio::time::Instant::now() + SETTLE);
        }
        let mut late = settle.is_some_and(|settle| settle <= tokio::time::Instant::now());
        if late && !ready && table.mesh.discovery().last_error().is_some() {
            // The registry names services without their instances: that is no mesh yet.
            settle = Some(tokio::time::Instant::now() + RECHECK_INTERVAL);
            late = false;
        }
        if known && !ready && (late || table.is_settled()) {
            ready = true;
            debug!(services = table.entries.len(), "directory is complete");
        }
        let services = table
            .entries
            .values()
            .map(|entry| Arc::clone(&entry.service));
        let snapshot = Arc::new(DirectorySnapshot::new(services, ready));
        current.store(Arc::clone(&snapshot));
        changes.send_replace(snapshot);
        // Every arm is cancel-safe: what is not taken now is taken in the next round.
        tokio::select! {
            changed = catalog.changed(), if open => match changed {
                Ok(()) => {
                    let now = catalog.borrow_and_update().clone();
                    known |= now.is_some();
                    if let Some(catalog) = now {
                        table.apply_catalog(&catalog);
                    }
                }
                Err(_) => open = false,
            },
            Some(update) = updates.recv() => table.apply(update),
            () = sleep_until(settle.unwrap_or_else(tokio::time::Instant::now)),
                if settle.is_some() && !ready => {}
        }
        // What else has come belongs into the same snapshot.
        while let Ok(update) = updates.try_recv() {
            table.apply(update);
        }
        while table.tasks.try_join_next().is_some() {}
    }
}

enum Update {
    /// The registry tells a service's instances.
    Instances(Arc<str>, Option<Arc<Snapshot>>),
    /// One instance told what it serves; `None` when it did not answer, and is asked again.
    Reflected {
        name: Arc<str>,
        generation: String,
        grpc_services: Option<Vec<String>>,
    },
}

/// What is known of every service, and the tasks that find out.
struct ServiceTable {
    mesh: Mesh,
    sender: mpsc::Sender<Update>,
    tasks: JoinSet<()>,
    entries: BTreeMap<Arc<str>, Entry>,
}

struct Entry {
    tags: Vec<String>,
    reflected: Vec<String>,
    service: Arc<Service>,
    watch: AbortHandle,
    /// The generation that is or was asked for its reflection.
    probe: Option<Probe>,
}

struct Probe {
    generation: String,
    task: AbortHandle,
    /// Whether it has said something, if only that there was no answer.
    tried: bool,
}

impl ServiceTable {
    /// The registry tells which services there are.
    fn apply_catalog(&mut self, catalog: &Catalog) {
        self.entries.retain(|name, entry| {
            let stays = catalog.services.contains_key(name);
            if !stays {
                info!(service = %name, "service has left");
                entry.end();
            }
            stays
        });
        for (name, tags) in &catalog.services {
            match self.entries.entry(Arc::clone(name)) {
                btree_map::Entry::Occupied(mut entry) => {
                    let entry = entry.get_mut();
                    if entry.tags != *tags {
                        entry.tags.clone_from(tags);
                        entry.rebuild(entry.service.snapshot.clone());
                    }
                }
                btree_map::Entry::Vacant(entry) => {
                    info!(service = %name, "service has joined");
                    let discovery = Arc::clone(self.mesh.discovery());
                    let watch = watch_instances(discovery, Arc::clone(name), self.sender.clone());
                    entry.insert(Entry {
                        tags: tags.clone(),
                        reflected: Vec::new(),
                        service: Arc::new(Service::new(name, tags, None, &[], None)),
                        watch: self.tasks.spawn(watch),
                        probe: None,
                    });
                }
            }
        }
    }

    fn apply(&mut self, update: Update) {
        let name = match &update {
            Update::Instances(name, _) | Update::Reflected { name, .. } => Arc::clone(name),
        };
        // A service that has left may still have had something to say.
        let Some(entry) = self.entries.get_mut(&name) else {
            return;
        };
        match update {
            Update::Instances(_, snapshot) => entry.rebuild(snapshot),
            Update::Reflected {
                generation,
                grpc_services,
                ..
            } => {
                let probe = entry
                    .probe
                    .as_mut()
                    .filter(|probe| probe.generation == generation);
                let Some(probe) = probe else { return };
                probe.tried = true;
                if let Some(grpc_services) = grpc_services {
                    debug!(service = %name, ?grpc_services, "reflection answered");
                    entry.reflected = grpc_services;
                    entry.rebuild(entry.service.snapshot.clone());
                }
            }
        }
        let asked = entry.probe.as_ref().map(|probe| probe.generation.as_str());
        if entry.service.needs_reflection() && asked != Some(&entry.service.generation) {
            if let Some(probe) = entry.probe.take() {
                probe.task.abort();
            }
            let ask = probe(
                self.mesh.clone(),
                Arc::clone(&entry.service),
                self.sender.clone(),
            );
            let generation = entry.service.generation.clone();
            let task = self.tasks.spawn(ask);
            entry.probe = Some(Probe {
                generation,
                task,
                tried: false,
            });
        }
    }

    /// Whether every service's instances are known, and those that had to be asked were.
    fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| {
            entry.service.snapshot.is_some()
                && (!entry.service.needs_reflection()
                    || entry.probe.as_ref().is_some_and(|probe| probe.tried))
        })
    }
}

impl Entry {
    fn rebuild(&mut self, snapshot: Option<Arc<Snapshot>>) {
        let old = &self.service;
        let new = Service::new(&old.name, &self.tags, snapshot, &self.reflected, Some(old));
        self.service = Arc::new(new);
    }

    fn end(&mut self) {
        self.watch.abort();
        if let Some(probe) = &self.probe {
            probe.task.abort();
        }
    }
}

async fn watch_instances(
    discovery: Arc<dyn Discovery>,
    name: Arc<str>,
    updates: mpsc::Sender<Update>,
) {
    let mut instances = discovery.watch(&name);
    loop {
        let now = instances.borrow_and_update().clone();
        let sent = updates
            .send(Update::Instances(Arc::clone(&name), now))
            .await;
        if sent.is_err() || instances.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the instances of a service, a few at a time, until one tells what it serves: a dead one
/// among them must not hide the service.
async fn probe(mesh: Mesh, service: Arc<Service>, updates: mpsc::Sender<Update>) {
    let mut pause = FIRST_PAUSE;
    let instances: Vec<_> = service.serving().cloned().collect();
    for asked in instances.chunks(PROBE_CONCURRENCY).cycle() {
        let answers = asked.iter().map(|instance| {
            let channel = mesh.channel(&service.name).instance(&instance.key.id);
            Box::pin(descriptors::list(channel))
        });
        let answer = timeout(QUERY_TIMEOUT, select_ok(answers)).await;
        let grpc_services = answer.ok().and_then(Result::ok).map(|(names, _)| names);
        let done = grpc_services.is_some();
        let update = Update::Reflected {
            name: Arc::clone(&service.name),
            generation: service.generation.clone(),
            grpc_services,
        };
        if updates.send(update).await.is_err() || done {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
