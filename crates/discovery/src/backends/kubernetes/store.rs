//! The objects that are known, and what is published of them: one catalog, the instances of each
//! watched service, the settings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{
    api_types::{ConfigMap, EndpointSlice, Object, Service},
    services::{EndpointState, KIND_LABEL, MeshService, SERVICE_LABEL},
    settings::{self, SETTINGS},
};
use crate::{
    Catalog, InstanceKey, KvEntries, LeftOut, Snapshot,
    backends::stale_grace::{Item, StaleGrace},
    publish::publish,
    status::LeftOuts,
};

/// A kind of object that is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Services,
    EndpointSlices,
    Settings,
}

impl Kind {
    /// Its name in logs.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Services => "the Services",
            Self::EndpointSlices => "the EndpointSlices",
            Self::Settings => "the ConfigMap mesh-settings",
        }
    }

    /// What a Role has to name.
    pub(super) const fn right(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices (group discovery.k8s.io)",
            Self::Settings => "configmaps (resourceNames: mesh-settings)",
        }
    }

    /// Its path with a selector, to which further parameters are added.
    pub(super) fn path(self, namespace: &str) -> String {
        let encoded = |text: &str| text.replace('/', "%2F");
        match self {
            Self::Services => format!(
                "api/v1/namespaces/{namespace}/services?labelSelector={}",
                encoded(KIND_LABEL)
            ),
            Self::EndpointSlices => format!(
                "apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={}",
                encoded(SERVICE_LABEL)
            ),
            Self::Settings => format!(
                "api/v1/namespaces/{namespace}/configmaps?fieldSelector=metadata.name%3D{SETTINGS}"
            ),
        }
    }
}

/// Shared by the tasks of one backend.
#[derive(Debug)]
pub(super) struct Store {
    known: Mutex<Known>,
    catalog: watch::Sender<Option<Arc<Catalog>>>,
    entries: watch::Sender<Option<Arc<KvEntries>>>,
    left_outs: LeftOuts,
    /// Notified when there may be a deadline.
    retains: Notify,
}

#[derive(Debug)]
struct Known {
    services: Followed<Arc<str>, Arc<MeshService>>,
    settings: Followed<Arc<str>, Arc<str>>,
    /// Slices by their names, and those names by service.
    slices: HashMap<String, EndpointSlice>,
    slices_of: HashMap<Arc<str>, BTreeSet<String>>,
    slices_listed: bool,
    /// Whether the slices are not followed now. Their last known set stays.
    slices_away: bool,
    watched: HashMap<Arc<str>, ServiceWatch>,
    /// Services whose instances may have changed since they were published.
    touched: BTreeSet<Arc<str>>,
    /// Objects that cannot be used.
    refused: BTreeMap<(Kind, String), LeftOut>,
}

#[derive(Debug)]
struct ServiceWatch {
    sender: watch::Sender<Option<Arc<Snapshot>>>,
    grace: StaleGrace<InstanceKey, EndpointState>,
}

/// Objects of one kind as the API server has them, and as they are shown.
#[derive(Debug)]
struct Followed<K, V> {
    now: BTreeMap<K, V>,
    grace: StaleGrace<K, V>,
    shown: BTreeMap<K, V>,
    listed: bool,
    away: bool,
}

impl Item for Arc<MeshService> {
    /// A Service is there or it is not.
    fn is_serving(&self) -> bool {
        true
    }
}

impl<K: Ord + Clone, V: Item> Followed<K, V> {
    fn new() -> Self {
        Self {
            now: BTreeMap::new(),
            grace: StaleGrace::new(),
            shown: BTreeMap::new(),
            listed: false,
            away: false,
        }
    }

    fn mark_outage(&mut self) {
        self.away = true;
        self.grace.mark_outage();
    }

    /// Shows what is there now, unless it is not followed; returns whether that is another.
    fn show(&mut self, now: Instant) -> bool {
        if self.away || !self.listed {
            return false;
        }
        self.grace.apply(self.now.clone(), now);
        let shown = self.grace.items();
        let changed = shown != self.shown;
        self.shown = shown;
        changed
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            known: Mutex::new(Known {
                services: Followed::new(),
                settings: Followed::new(),
                slices: HashMap::new(),
                slices_of: HashMap::new(),
                slices_listed: false,
                slices_away: false,
                watched: HashMap::new(),
                touched: BTreeSet::new(),
                refused: BTreeMap::new(),
            }),
            catalog: watch::channel(None).0,
            entries: watch::channel(None).0,
            left_outs: LeftOuts::default(),
            retains: Notify::new(),
        }
    }
}

impl Store {
    pub(super) fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.catalog.subscribe()
    }

    pub(super) fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        self.entries.subscribe()
    }

    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        self.left_outs.list()
    }

    pub(super) fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        let mut known = self.known.lock();
        known.watched.retain(|name, watch| {
            let used = &**name == service || watch.sender.receiver_count() > 0;
            if !used {
                self.left_outs.set(name, Vec::new());
            }
            used
        });
        if let Some(watch) = known.watched.get(service) {
            return watch.sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        let name: Arc<str> = service.into();
        let grace = StaleGrace::new();
        known
            .watched
            .insert(Arc::clone(&name), ServiceWatch { sender, grace });
        if known.is_listed() {
            let away = std::mem::take(&mut known.slices_away);
            self.publish_service(&mut known, &name, Instant::now());
            known.slices_away = away;
            if let Some(watch) = known.watched.get_mut(&name).filter(|_| away) {
                watch.grace.mark_outage();
            }
        }
        receiver
    }

    /// Takes a whole list of a kind. The caller publishes.
    pub(super) fn replace(&self, kind: Kind, objects: Vec<Value>) {
        let mut known = self.known.lock();
        known.refused.retain(|(of, _), _| *of != kind);
        match kind {
            Kind::Services => {
                let gone = std::mem::take(&mut known.services.now);
                known.touched.extend(gone.into_keys());
                (known.services.listed, known.services.away) = (true, false);
            }
            Kind::EndpointSlices => {
                known.slices.clear();
                known.slices_of.clear();
                let watched: Vec<_> = known.watched.keys().cloned().collect();
                known.touched.extend(watched);
                (known.slices_listed, known.slices_away) = (true, false);
            }
            Kind::Settings => {
                known.settings.now.clear();
                (known.settings.listed, known.settings.away) = (true, false);
            }
        }
        for object in objects {
            known.change(kind, false, object);
        }
    }

    /// Takes one object that was added, changed or deleted. The caller publishes.
    pub(super) fn change(&self, kind: Kind, deleted: bool, object: Value) {
        self.known.lock().change(kind, deleted, object);
    }

    /// A kind is not followed any more: what is known of it stays.
    pub(super) fn mark_outage(&self, kind: Kind) {
        let mut known = self.known.lock();
        match kind {
            Kind::Services => known.services.mark_outage(),
            Kind::Settings => known.settings.mark_outage(),
            Kind::EndpointSlices => {
                known.slices_away = true;
                for watch in known.watched.values_mut() {
                    watch.grace.mark_outage();
                }
            }
        }
    }

    /// Publishes what changed of a kind.
    pub(super) fn publish(&self, kind: Kind) {
        let (mut known, now) = (self.known.lock(), Instant::now());
        match kind {
            Kind::Settings => self.publish_settings(&mut known, now),
            Kind::Services | Kind::EndpointSlices => self.publish_services(&mut known, now),
        }
        if known.deadline().is_some() {
            self.retains.notify_one();
        }
    }

    /// Gives up what was retained after outages when its time is over, for ever.
    pub(super) async fn expire_stale(&self) {
        loop {
            let deadline = self.known.lock().deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.expire(Instant::now()),
                () = self.retains.notified() => {}
            }
        }
    }

    fn expire(&self, now: Instant) {
        let mut known = self.known.lock();
        let gone: Vec<_> = known.services.shown.keys().cloned().collect();
        known.services.grace.expire(now);
        known.settings.grace.expire(now);
        for watch in known.watched.values_mut() {
            watch.grace.expire(now);
        }
        known.touched.extend(gone);
        self.publish_settings(&mut known, now);
        self.publish_services(&mut known, now);
    }

    fn publish_settings(&self, known: &mut Known, now: Instant) {
        known.settings.show(now);
        if known.settings.listed {
            let values = known.settings.shown.clone();
            publish(&self.entries, KvEntries { values });
        }
    }

    fn publish_services(&self, known: &mut Known, now: Instant) {
        if !known.is_listed() {
            return;
        }
        let refused = known.refused.values().cloned().collect();
        // Not the name of any service.
        self.left_outs.set(&"".into(), refused);
        known.services.show(now);
        let services = known.services.shown.iter();
        let tagged = services.map(|(name, service)| (Arc::clone(name), service.tags.clone()));
        let catalog = Catalog::from_tags(tagged.collect());
        // Instances first: who reads the catalog asks for them.
        for name in std::mem::take(&mut known.touched) {
            self.publish_service(known, &name, now);
        }
        publish(&self.catalog, catalog);
    }

    fn publish_service(&self, known: &mut Known, name: &Arc<str>, now: Instant) {
        let Some(watch) = known.watched.get_mut(name) else {
            return;
        };
        let mut excluded = 0;
        if let Some(service) = known.services.shown.get(name) {
            let names = known.slices_of.get(name).into_iter().flatten();
            let found = service.instances(names.filter_map(|name| known.slices.get(name)));
            excluded = found.left_out.len();
            self.left_outs.set(name, found.left_out);
            // The last known set stays while the slices are not followed.
            if !known.slices_away {
                watch.grace.apply(found.instances, now);
            }
        } else {
            self.left_outs.set(name, Vec::new());
            if !known.slices_away {
                watch.grace.apply(BTreeMap::new(), now);
            }
        }
        let instances = watch.grace.items().into_values();
        let snapshot = Snapshot {
            service: Arc::clone(name),
            instances: instances.map(|state| state.instance).collect(),
            excluded,
        };
        publish(&watch.sender, snapshot);
    }
}

impl Known {
    fn is_listed(&self) -> bool {
        self.services.listed && self.slices_listed
    }

    fn deadline(&self) -> Option<Instant> {
        let of_services = self.watched.values().map(|watch| watch.grace.deadline());
        let of_lists = [
            self.services.grace.deadline(),
            self.settings.grace.deadline(),
        ];
        of_services.chain(of_lists).flatten().min()
    }

    fn change(&mut self, kind: Kind, deleted: bool, object: Value) {
        // The API server's objects have names; what has none is nothing to us.
        let Some(name) = Object::deserialize(&object).ok().map(|it| it.metadata.name) else {
            return;
        };
        let key = (kind, name);
        let (kind, name) = &key;
        let taken = match kind {
            Kind::Services => self.change_service(name, deleted, object),
            Kind::EndpointSlices => self.change_slice(name, deleted, object),
            Kind::Settings => self.change_settings(name, deleted, object),
        };
        match taken {
            Ok(()) => drop(self.refused.remove(&key)),
            Err(left_out) => drop(self.refused.insert(key, left_out)),
        }
    }

    fn change_service(&mut self, name: &str, deleted: bool, object: Value) -> Result<(), LeftOut> {
        let old = self.services.now.remove(name);
        self.touched.insert(name.into());
        if deleted {
            return Ok(());
        }
        let service = Service::deserialize(object).map_err(|error| {
            LeftOut::new(name, "", format!("its Service cannot be read: {error}"))
        })?;
        let mut new = Arc::new(MeshService::read(service)?);
        if let Some(old) = old.filter(|old| *old == new) {
            new = old;
        }
        self.services.now.insert(Arc::clone(&new.name), new);
        Ok(())
    }

    fn change_slice(&mut self, name: &str, deleted: bool, object: Value) -> Result<(), LeftOut> {
        let old = self.slices.remove(name);
        if let Some(of) = old
            .as_ref()
            .and_then(|old| old.metadata.label(SERVICE_LABEL))
        {
            let of: Arc<str> = of.into();
            if let Some(names) = self.slices_of.get_mut(&of) {
                names.remove(name);
                if names.is_empty() {
                    self.slices_of.remove(&of);
                }
            }
            self.touched.insert(of);
        }
        if deleted {
            return Ok(());
        }
        let slice = EndpointSlice::deserialize(object).map_err(|error| {
            LeftOut::new(
                name,
                "",
                format!("the EndpointSlice cannot be read: {error}"),
            )
        })?;
        if let Some(of) = slice.metadata.label(SERVICE_LABEL) {
            let of: Arc<str> = of.into();
            let names = self.slices_of.entry(Arc::clone(&of)).or_default();
            names.insert(name.to_owned());
            self.touched.insert(of);
            self.slices.insert(name.to_owned(), slice);
        }
        Ok(())
    }

    fn change_settings(&mut self, name: &str, deleted: bool, object: Value) -> Result<(), LeftOut> {
        if name != SETTINGS {
            return Ok(());
        }
        if deleted {
            self.settings.now.clear();
            return Ok(());
        }
        let map = ConfigMap::deserialize(object).map_err(|error| {
            LeftOut::new(name, "", format!("the ConfigMap cannot be read: {error}"))
        })?;
        self.settings.now = settings::values(map);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tokio::task::JoinSet;

    use super::*;
    use crate::backends::stale_grace::GRACE;

    fn service() -> Value {
        json!({ "metadata": { "name": "agent-echo", "labels": { "mesh/kind": "agent" } } })
    }

    fn slice(name: &str, address: &str, ready: bool) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "agent-echo" } },
            "addressType": "IPv4",
            "ports": [{ "name": "grpc", "port": 1 }],
            "endpoints": [{ "addresses": [address], "conditions": { "ready": ready } }],
        })
    }

    fn listed(store: &Store, kind: Kind, objects: Vec<Value>) {
        store.replace(kind, objects);
        store.publish(kind);
    }

    fn serving(receiver: &watch::Receiver<Option<Arc<Snapshot>>>) -> Option<usize> {
        let snapshot = receiver.borrow().clone()?;
        Some(snapshot.serving().count())
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_outage_may_have_lost_is_kept_for_thirty_seconds() {
        let store = Arc::new(Store::default());
        let mut tasks = JoinSet::new();
        let expiring = Arc::clone(&store);
        tasks.spawn(async move { expiring.expire_stale().await });
        let echo = store.watch("agent-echo");
        listed(&store, Kind::Services, vec![service()]);
        assert_eq!(serving(&echo), None, "half of it is not the mesh");
        let all = vec![slice("a", "10.0.0.1", true), slice("b", "10.0.0.2", true)];
        listed(&store, Kind::EndpointSlices, all);
        assert_eq!(serving(&echo), Some(2));
        store.mark_outage(Kind::EndpointSlices);
        // A watch that begins meanwhile has the last known set, and keeps it alike.
        drop(store.watch("nobody"));
        listed(
            &store,
            Kind::EndpointSlices,
            vec![slice("a", "10.0.0.1", false)],
        );
        tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
        assert_eq!(serving(&echo), Some(2));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(serving(&echo), Some(0), "then the API server is believed");
        assert_eq!(store.catalog().borrow().as_ref().unwrap().services.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_an_outage_may_have_lost_is_kept_alike() {
        let store = Arc::new(Store::default());
        let mut tasks = JoinSet::new();
        let expiring = Arc::clone(&store);
        tasks.spawn(async move { expiring.expire_stale().await });
        let echo = store.watch("agent-echo");
        listed(&store, Kind::Services, vec![service()]);
        listed(
            &store,
            Kind::EndpointSlices,
            vec![slice("a", "10.0.0.1", true)],
        );
        store.mark_outage(Kind::Services);
        listed(&store, Kind::Services, Vec::new());
        tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
        assert_eq!(serving(&echo), Some(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(serving(&echo), Some(0));
        assert!(
            store
                .catalog()
                .borrow()
                .as_ref()
                .unwrap()
                .services
                .is_empty()
        );
    }

    #[tokio::test]
    async fn a_watch_that_begins_during_an_outage_has_the_last_known_set() {
        let store = Store::default();
        listed(&store, Kind::Services, vec![service()]);
        listed(
            &store,
            Kind::EndpointSlices,
            vec![slice("a", "10.0.0.1", true)],
        );
        store.mark_outage(Kind::EndpointSlices);
        let echo = store.watch("agent-echo");
        assert_eq!(serving(&echo), Some(1));
        listed(&store, Kind::EndpointSlices, Vec::new());
        assert_eq!(
            serving(&echo),
            Some(1),
            "kept as if it had been watched before"
        );
    }
}
