//! Kubernetes: Services with the label `mesh/kind`, and their EndpointSlices, listed and watched.
//!
//! | file | contents |
//! |---|---|
//! | `options`, `client` | one request to the API server |
//! | `api_types`, `services` | its objects, and the instances that they mean |
//! | `reflector` | lists a kind of object, then watches it |
//! | `store` | all objects that are known, and what is published of them |
//! | `settings` | the ConfigMap `mesh-settings` as settings |
//!
//! Programs register nothing here. Kubernetes knows their pods, and a readiness probe of `/readyz`
//! says which of them take calls.

mod api_types;
mod client;
mod options;
mod reflector;
mod services;
mod settings;
mod store;

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

pub use options::{KUBERNETES_CA_FILE, KUBERNETES_TOKEN_FILE, KubernetesOptions};

use self::{client::KubernetesApi, options::NAME, reflector::Reflector, store::Store};
use super::outage::Outages;
use crate::{Catalog, Discovery, Error, KvEntries, Registration, RegistryStatus, Snapshot};

/// The API server of this cluster. Dropping it ends every watch.
#[derive(Debug)]
pub struct Kubernetes {
    api: Arc<KubernetesApi>,
    store: Arc<Store>,
    outages: Outages,
    runtime: Handle,
    running: Mutex<Running>,
    registered: Mutex<BTreeSet<String>>,
}

/// The tasks that run. They begin with the first question, so that a program that asks nothing needs
/// no right.
#[derive(Debug, Default)]
struct Running {
    tasks: JoinSet<()>,
    objects: bool,
    settings: bool,
}

impl Kubernetes {
    /// Checks the options. The API server may still be down, and certificates missing. Watches are
    /// tasks on the current tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is unusable.
    pub fn new(options: KubernetesOptions) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|error| Error::Config {
            key: "kubernetes",
            reason: format!("build it inside a tokio runtime: {error}"),
        })?;
        Ok(Self {
            api: Arc::new(KubernetesApi::new(options)?),
            store: Arc::new(Store::default()),
            outages: Outages::default(),
            runtime,
            running: Mutex::default(),
            registered: Mutex::default(),
        })
    }

    fn start_objects(&self) {
        let mut running = self.running.lock();
        if std::mem::replace(&mut running.objects, true) {
            return;
        }
        for kind in [store::Kind::Services, store::Kind::EndpointSlices] {
            self.start(&mut running, kind);
        }
        let store = Arc::clone(&self.store);
        let expire = async move { store.expire_stale().await };
        running.tasks.spawn_on(expire, &self.runtime);
    }

    fn start(&self, running: &mut Running, kind: store::Kind) {
        let reflector = Reflector::new(
            kind,
            Arc::clone(&self.api),
            Arc::clone(&self.store),
            self.outages.clone(),
        );
        running.tasks.spawn_on(reflector.run(), &self.runtime);
    }
}

#[async_trait::async_trait]
impl Discovery for Kubernetes {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.start_objects();
        self.store.catalog()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.start_objects();
        self.store.watch(service)
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        let mut running = self.running.lock();
        if !std::mem::replace(&mut running.settings, true) {
            self.start(&mut running, store::Kind::Settings);
        }
        self.store.entries()
    }

    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.api.write_setting(key, value).await
    }

    async fn register(&self, registration: &Registration) -> Result<(), Error> {
        registration.validate(NAME)?;
        self.registered.lock().insert(registration.id.clone());
        Ok(())
    }

    async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        Ok(self.registered.lock().contains(id))
    }

    async fn deregister(&self, id: &str) -> Result<(), Error> {
        self.registered.lock().remove(id);
        Ok(())
    }

    fn last_error(&self) -> Option<Error> {
        self.outages.error()
    }

    fn status(&self) -> RegistryStatus {
        RegistryStatus {
            error: self.outages.error().map(|error| error.to_string()),
            cached_seconds: None,
            left_out: self.store.left_out(),
            // The API server hides nothing: it refuses.
            hidden: Vec::new(),
            answers: self.api.answers.list(),
            last_answer: self.api.answers.last_answer(),
        }
    }
}
