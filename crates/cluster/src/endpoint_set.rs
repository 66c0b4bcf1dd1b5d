//! The instances of one service by the last snapshot of the registry, each with its endpoint.

use std::{mem, sync::Arc};

use discovery::{Instance, Snapshot};

use crate::{Connections, Endpoint, service_meta::ServiceMeta};

/// All instances, also critical ones, in the order of their keys.
pub(crate) struct EndpointSet<C> {
    snapshot: Arc<Snapshot>,
    /// One for each instance of the snapshot.
    endpoints: Vec<Arc<Endpoint<C>>>,
    pub(crate) service_meta: ServiceMeta,
}

impl<C: Connections> EndpointSet<C> {
    pub(crate) fn new(service: &str) -> Self {
        Self {
            snapshot: Arc::new(Snapshot::empty(service)),
            endpoints: Vec::new(),
            service_meta: ServiceMeta::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<Instance>, &Arc<Endpoint<C>>)> {
        self.snapshot.instances.iter().zip(&self.endpoints)
    }

    pub(crate) fn serving(&self) -> impl Iterator<Item = &Arc<Endpoint<C>>> {
        let serving = self.iter().filter(|(instance, _)| instance.is_serving());
        serving.map(|(_, endpoint)| endpoint)
    }

    /// The serving instance with this ID.
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Endpoint<C>>> {
        let instances = &self.snapshot.instances;
        let from = instances.partition_point(|instance| &*instance.key.id < id);
        // Each node may have one.
        let named = instances[from..]
            .iter()
            .take_while(|instance| &*instance.key.id == id);
        let index = from
            + named
                .into_iter()
                .position(|instance| instance.is_serving())?;
        self.endpoints.get(index)
    }

    /// Applies a snapshot. Unchanged endpoints keep their connections. `join` makes the endpoint of
    /// a new instance, and gets whether others already serve. True when the Meta of the instances
    /// changed.
    pub(crate) fn update(
        &mut self,
        snapshot: Arc<Snapshot>,
        join: impl Fn(&Arc<Instance>, bool) -> Arc<Endpoint<C>>,
    ) -> bool {
        let warm = self.snapshot.serving().next().is_some();
        let before = mem::replace(&mut self.snapshot, snapshot);
        let endpoints = mem::take(&mut self.endpoints);
        let mut olds = before.instances.iter().zip(endpoints).peekable();
        let mut meta_changed = false;
        for new in &self.snapshot.instances {
            // Most are the same `Arc`: strings are compared only for the others.
            let is_same = |old: &Arc<Instance>| Arc::ptr_eq(old, new);
            while let Some((old, endpoint)) =
                olds.next_if(|(old, _)| !is_same(old) && old.key < new.key)
            {
                meta_changed |= self.service_meta.is_changed(Some(old), None);
                endpoint.gone.cancel();
            }
            let endpoint = match olds.next_if(|(old, _)| is_same(old) || old.key == new.key) {
                Some((old, endpoint)) if old == new => endpoint,
                Some((old, endpoint)) => {
                    meta_changed |= self.service_meta.is_changed(Some(old), Some(new));
                    if endpoint.update_instance(new) {
                        endpoint
                    } else {
                        endpoint.gone.cancel();
                        join(new, warm)
                    }
                }
                None => {
                    meta_changed |= self.service_meta.is_changed(None, Some(new));
                    join(new, warm)
                }
            };
            self.endpoints.push(endpoint);
        }
        for (old, endpoint) in olds {
            meta_changed |= self.service_meta.is_changed(Some(old), None);
            endpoint.gone.cancel();
        }
        if meta_changed {
            self.service_meta = ServiceMeta::of(&self.snapshot);
        }
        meta_changed
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use arc_swap::ArcSwap;
    use discovery::{Health, InstanceKey};
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{ClusterOptions, FixedServiceConfig, Shared, connections::NoConnections};

    fn instance(node: u8, id: u8, port: u16, health: Health) -> Instance {
        Instance {
            key: InstanceKey {
                node: format!("n{node}").into(),
                id: format!("i{id}").into(),
            },
            service: "agent-test".into(),
            host: "127.0.0.1".to_owned(),
            port,
            tags: Vec::new(),
            meta: [("port".to_owned(), port.to_string())].into(),
            weight: 1,
            health,
        }
    }

    #[test]
    fn an_endpoint_lives_as_long_as_its_instance_keeps_its_address() {
        let service_config = Arc::new(FixedServiceConfig::new(ClusterOptions::default()));
        let shared = Arc::new(Shared::new(service_config));
        let options = Arc::new(ArcSwap::from_pointee(ClusterOptions::default()));
        let join = |instance: &Arc<Instance>, warm| {
            let endpoint = Endpoint::new(Arc::clone(instance), &shared, &options, warm);
            // One that never had a call may be replaced.
            assert!(endpoint.begin(Duration::from_secs(1)));
            Arc::new(endpoint)
        };
        let mut rng = StdRng::seed_from_u64(7);
        let mut endpoints = EndpointSet::new("agent-test");
        let mut before: HashMap<InstanceKey, Arc<Endpoint<NoConnections>>> = HashMap::new();
        for _ in 0..500 {
            let mut next = Vec::new();
            for (node, id) in (0..3).flat_map(|node| (0..4).map(move |id| (node, id))) {
                let health = [Health::Passing, Health::Critical][rng.random_range(0..2)];
                if rng.random_bool(0.7) {
                    next.push(instance(node, id, rng.random_range(1..3), health));
                }
            }
            let announced = endpoints.service_meta.meta().into_iter();
            let announced: Vec<_> = announced.map(|(_, value)| value.to_owned()).collect();
            let snapshot = Arc::new(Snapshot::of("agent-test", next));
            let changed = endpoints.update(Arc::clone(&snapshot), join);

            let first = snapshot.serving().map(|instance| &instance.meta["port"]);
            assert!(
                endpoints
                    .service_meta
                    .meta()
                    .into_values()
                    .eq(first.take(1))
            );
            assert!(changed || announced.iter().eq(endpoints.service_meta.meta().values()));
            let now: HashMap<InstanceKey, Arc<Endpoint<NoConnections>>> = endpoints
                .iter()
                .map(|(instance, endpoint)| (instance.key.clone(), Arc::clone(endpoint)))
                .collect();
            assert_eq!(now.len(), snapshot.instances.len());
            for instance in &snapshot.instances {
                let endpoint = &now[&instance.key];
                assert_eq!(**endpoint.instance(), **instance);
                assert!(!endpoint.gone.is_cancelled());
                if let Some(before) = before.remove(&instance.key) {
                    let stays = before.instance().port == instance.port;
                    assert_eq!(Arc::ptr_eq(&before, endpoint), stays);
                    assert_eq!(before.gone.is_cancelled(), !stays);
                }
            }
            assert!(before.into_values().all(|left| left.gone.is_cancelled()));
            for id in ["i0", "i1", "i2", "i3", "i4"] {
                let found = endpoints.get(id).map(|e| Arc::clone(&e.instance()));
                let named = snapshot.serving().find(|i| &*i.key.id == id);
                assert_eq!(found.as_ref(), named, "{id}");
            }
            before = now;
        }
    }
}
