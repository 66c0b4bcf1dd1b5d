//! A registry within this process: for tests, and for a whole mesh in one process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Catalog, Discovery, Error, Health, Instance, InstanceKey, KvEntries, Registration, Snapshot,
    publish::publish,
};

/// Keeps registrations in memory. They are visible at once, and passing. Methods simulate health
/// checks and a registry that fails.
#[derive(Debug)]
pub struct Memory(Mutex<State>);

#[derive(Debug)]
struct State {
    entries: BTreeMap<String, (Registration, Health)>,
    reachable: bool,
    /// How many times it has lost everything.
    incarnation: u64,
    catalog: watch::Sender<Option<Arc<Catalog>>>,
    watched: HashMap<String, watch::Sender<Option<Arc<Snapshot>>>>,
    written: watch::Sender<Option<Arc<KvEntries>>>,
}

impl Memory {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(State {
            entries: BTreeMap::new(),
            reachable: true,
            incarnation: 0,
            catalog: watch::channel(Some(Arc::default())).0,
            watched: HashMap::new(),
            written: watch::channel(Some(Arc::default())).0,
        }))
    }

    /// A registry with these registrations.
    pub(super) fn of(registrations: Vec<Registration>) -> Self {
        let memory = Self::new();
        memory.change(|entries| {
            let passing = |it: Registration| (it.id.clone(), (it, Health::Passing));
            entries.extend(registrations.into_iter().map(passing));
        });
        memory
    }

    /// Sets what the checks say of an instance; an unknown ID is ignored.
    pub fn set_health(&self, id: &str, health: Health) {
        self.change(|entries| {
            if let Some(entry) = entries.get_mut(id) {
                entry.1 = health;
            }
        });
    }

    /// Forgets one instance, as the registry does with one that was critical for too long.
    pub fn remove(&self, id: &str) {
        self.change(|entries| drop(entries.remove(id)));
    }

    /// Forgets everything, as a development Consul does when it restarts.
    pub fn clear(&self) {
        self.0.lock().incarnation += 1;
        self.change(BTreeMap::clear);
    }

    /// While `false`, registering, asking and deregistering fail with [`Error::Unreachable`], and
    /// receivers keep the last known set.
    pub fn set_reachable(&self, reachable: bool) {
        self.0.lock().reachable = reachable;
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, (Registration, Health)>)) {
        let mut state = self.0.lock();
        change(&mut state.entries);
        state.publish();
    }

    fn check_reachable(&self) -> Result<(), Error> {
        if self.0.lock().reachable {
            return Ok(());
        }
        Err(Error::Unreachable {
            registry: "memory",
            address: "this process".to_owned(),
            reason: "set to be unreachable".to_owned(),
        })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait::async_trait]
impl Discovery for Memory {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.0.lock().catalog.subscribe()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        let mut state = self.0.lock();
        state
            .watched
            .retain(|name, sender| name == service || !sender.is_closed());
        if let Some(sender) = state.watched.get(service) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(Some(Arc::new(state.snapshot(service))));
        state.watched.insert(service.to_owned(), sender);
        receiver
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        self.0.lock().written.subscribe()
    }

    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.check_reachable()?;
        let state = self.0.lock();
        let mut entries = state
            .written
            .borrow()
            .as_deref()
            .cloned()
            .unwrap_or_default();
        match value {
            Some(value) => drop(entries.values.insert(key.into(), value.trim().into())),
            None => drop(entries.values.remove(key)),
        }
        publish(&state.written, entries);
        Ok(())
    }

    async fn register(&self, registration: &Registration) -> Result<(), Error> {
        self.check_reachable()?;
        registration.validate("memory")?;
        self.change(|entries| {
            entries.insert(
                registration.id.clone(),
                (registration.clone(), Health::Passing),
            );
        });
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        self.check_reachable()?;
        Ok(self.0.lock().entries.contains_key(id))
    }

    async fn deregister(&self, id: &str) -> Result<(), Error> {
        self.check_reachable()?;
        self.remove(id);
        Ok(())
    }

    async fn incarnation(&self) -> Result<Option<String>, Error> {
        self.check_reachable()?;
        Ok(Some(self.0.lock().incarnation.to_string()))
    }
}

impl State {
    fn publish(&self) {
        publish(&self.catalog, Catalog::of(self.instances().iter()));
        for (service, sender) in &self.watched {
            publish(sender, self.snapshot(service));
        }
    }

    fn instances(&self) -> Vec<Instance> {
        self.entries
            .values()
            .map(|(registration, health)| instance(registration, *health))
            .collect()
    }

    fn snapshot(&self, service: &str) -> Snapshot {
        Snapshot::of(
            service,
            self.instances()
                .into_iter()
                .filter(|i| &*i.service == service),
        )
    }
}

fn instance(registration: &Registration, health: Health) -> Instance {
    Instance {
        key: InstanceKey {
            node: "".into(),
            id: registration.id.as_str().into(),
        },
        service: registration.service.as_str().into(),
        host: registration.host.clone(),
        port: registration.port,
        tags: registration.tags.clone(),
        meta: registration.meta.clone(),
        weight: match health {
            Health::Warning => registration.weight_warning,
            Health::Passing | Health::Critical => registration.weight_passing,
        },
        health,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::tests::registration;

    fn healths(receiver: &watch::Receiver<Option<Arc<Snapshot>>>) -> Vec<Health> {
        let snapshot = receiver.borrow().clone().expect("known from the start");
        snapshot
            .instances
            .iter()
            .map(|instance| instance.health)
            .collect()
    }

    #[tokio::test]
    async fn a_registration_is_seen_at_once_and_passing() {
        let memory = Memory::new();
        let receiver = memory.watch("agent-echo");
        assert_eq!(healths(&receiver), []);
        memory.register(&registration("echo-1")).await.unwrap();
        assert_eq!(healths(&receiver), [Health::Passing]);
        let catalog = memory.catalog().borrow().clone().unwrap();
        assert_eq!(catalog.services["agent-echo"], ["agent", "echo"]);
    }

    #[tokio::test]
    async fn a_warning_instance_gets_its_lower_weight() {
        let memory = Memory::new();
        memory.register(&registration("echo-1")).await.unwrap();
        memory.set_health("echo-1", Health::Warning);
        let snapshot = memory.watch("agent-echo").borrow().clone().unwrap();
        assert_eq!(snapshot.instances[0].weight, 1);
        assert_eq!(snapshot.serving().count(), 1);
    }

    #[tokio::test]
    async fn clear_forgets_everything() {
        let memory = Memory::new();
        memory.register(&registration("echo-1")).await.unwrap();
        let receiver = memory.watch("agent-echo");
        memory.clear();
        assert_eq!(healths(&receiver), []);
        assert!(!memory.is_registered("echo-1").await.unwrap());
        assert_eq!(
            memory.catalog().borrow().as_deref(),
            Some(&Catalog::default())
        );
    }

    #[tokio::test]
    async fn an_unreachable_registry_keeps_what_receivers_know() {
        let memory = Memory::new();
        memory.register(&registration("echo-1")).await.unwrap();
        let receiver = memory.watch("agent-echo");
        memory.set_reachable(false);
        assert!(matches!(
            memory.deregister("echo-1").await,
            Err(Error::Unreachable { .. })
        ));
        assert_eq!(healths(&receiver), [Health::Passing]);
    }
}
