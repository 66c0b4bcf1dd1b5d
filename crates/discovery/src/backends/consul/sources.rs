//! What is watched: the catalog, and the instances of one service.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    api_types,
    blocking_query::{Answers, Source},
    client::{ConsulApi, QueryMode},
    visibility::{EmptyAnswer, Visibility},
};
use crate::{
    Catalog, Error, Instance, InstanceKey, LeftOut, Snapshot, backends::stale_grace::Item,
    status::LeftOuts, validate,
};

/// The services of the mesh, with their tags.
#[derive(Debug, Default)]
pub(super) struct CatalogSource {
    pub(super) left_outs: LeftOuts,
}

/// The instances of one service.
#[derive(Debug)]
pub(super) struct InstancesSource {
    name: Arc<str>,
    left_outs: LeftOuts,
    visibility: Arc<Visibility>,
    /// How many rows of the latest answer are not instances.
    excluded: AtomicUsize,
}

impl InstancesSource {
    pub(super) fn new(name: Arc<str>, left_outs: LeftOuts, visibility: Arc<Visibility>) -> Self {
        Self {
            name,
            left_outs,
            visibility,
            excluded: AtomicUsize::new(0),
        }
    }
}

impl Drop for InstancesSource {
    fn drop(&mut self) {
        self.left_outs.set(&self.name, Vec::new());
        self.visibility.set_hidden(&self.name, false);
    }
}

impl Item for Vec<String> {
    /// A name is in the answer or it is not.
    fn is_serving(&self) -> bool {
        true
    }
}

impl Item for Arc<Instance> {
    fn is_serving(&self) -> bool {
        Instance::is_serving(self)
    }
}

impl Source for CatalogSource {
    type Key = Arc<str>;
    type Item = Vec<String>;
    type Value = Catalog;
    const IS_CATALOG: bool = true;

    fn what(&self) -> &str {
        "the catalog"
    }

    async fn ask(&self, client: &ConsulApi, ask: QueryMode) -> Result<Answers<Self>, Error> {
        let answer = client.services(ask).await?;
        Ok(answer.map(|value| {
            let named = value.into_iter().map(|(name, tags)| (name.into(), tags));
            let mut services: BTreeMap<Arc<str>, Vec<String>> = named.collect();
            services.retain(|_, tags| Catalog::belongs(tags) || Catalog::is_program(tags));
            let mut left_out = Vec::new();
            services.retain(|name, _| match validate::name(name) {
                Ok(()) => true,
                Err(reason) => {
                    left_out.push(LeftOut::new(name, "", reason));
                    false
                }
            });
            // Not the name of any service.
            self.left_outs.set(&"".into(), left_out);
            services
        }))
    }

    fn value(&self, services: BTreeMap<Arc<str>, Vec<String>>) -> Catalog {
        Catalog::from_tags(services)
    }
}

impl Source for InstancesSource {
    type Key = InstanceKey;
    type Item = Arc<Instance>;
    type Value = Snapshot;

    fn what(&self) -> &str {
        &self.name
    }

    async fn ask(&self, client: &ConsulApi, mut ask: QueryMode) -> Result<Answers<Self>, Error> {
        if let QueryMode::Blocking { brief, .. } = &mut ask {
            // A right that is given does not change the index.
            *brief |= self.visibility.is_hidden(&self.name);
        }
        let mut answer = client.health(&self.name, ask).await?;
        let mut hidden = false;
        if answer.value.is_empty() {
            let explained = client.explain_empty(&self.visibility, &self.name, answer.filtered);
            match explained.await? {
                EmptyAnswer::Confirmed => {}
                EmptyAnswer::Outdated(rows) => answer.value = rows,
                EmptyAnswer::Hidden => hidden = true,
            }
        }
        self.visibility.set_hidden(&self.name, hidden);
        Ok(answer.map(|rows| {
            let mut found = api_types::instances(rows);
            if hidden {
                let reason =
                    "Consul lists the service but hides its instances: give the token node:read";
                found
                    .left_out
                    .push(LeftOut::new(&self.name, "", reason.to_owned()));
            }
            self.left_outs.set(&self.name, found.left_out);
            self.excluded.store(found.excluded, Ordering::Relaxed);
            found.instances
        }))
    }

    fn value(&self, instances: BTreeMap<InstanceKey, Arc<Instance>>) -> Snapshot {
        Snapshot {
            service: self.name.clone(),
            instances: instances.into_values().collect(),
            excluded: self.excluded.load(Ordering::Relaxed),
        }
    }
}
