//! Consul: registration with the local agent, discovery by blocking queries.
//!
//! | file | contents |
//! |---|---|
//! | `options`, `client`, `request`, `api_types`, `kv` | one request to Consul's HTTP API |
//! | `visibility` | whether an empty answer is true, or all that the ACL token may see |
//! | `blocking_query`, `sources`, `index`, `pacing` | one question, followed by blocking queries |
//! | `watch_state`, `watches` | the watches that run, and their tasks |
//! | `bulk_watcher`, `resync` | one query for all, above 100 services |
//! | `cache` | the last known set on disk |

mod api_types;
mod blocking_query;
mod bulk_watcher;
mod cache;
mod client;
mod index;
mod kv;
mod options;
mod pacing;
mod request;
mod resync;
mod sources;
mod visibility;
mod watch_state;
mod watches;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

pub use options::{CONSUL_PORT, ConsulOptions};

use self::{cache::Cache, client::ConsulApi, options::NAME, watches::Watches};
use crate::{Catalog, Discovery, Error, KvEntries, Registration, RegistryStatus, Snapshot};

/// The Consul agent of this host. Dropping it ends every watch.
#[derive(Debug)]
pub struct Consul {
    client: Arc<ConsulApi>,
    watches: Arc<Watches>,
}

impl Consul {
    /// Reads certificates and builds the client. Consul itself may still be down. Watches are tasks
    /// on the current tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is unusable.
    pub fn new(options: ConsulOptions) -> Result<Self, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| Error::Config {
            key: "consul",
            reason: format!("build it inside a tokio runtime: {error}"),
        })?;
        let client = Arc::new(ConsulApi::new(&options)?);
        let cache = options
            .cache
            .map(|path| Cache::open(path, client.address()));
        let watches = Watches::new(client.clone(), runtime, cache);
        Ok(Self { client, watches })
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.watches.stop();
    }
}

#[async_trait::async_trait]
impl Discovery for Consul {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.watches.catalog()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.watches.service(service)
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>> {
        self.watches.entries()
    }

    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.client.write(key, value).await
    }

    async fn register(&self, registration: &Registration) -> Result<(), Error> {
        registration.validate(NAME)?;
        self.client.register(registration).await
    }

    async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        self.client.is_registered(id).await
    }

    async fn deregister(&self, id: &str) -> Result<(), Error> {
        self.client.deregister(id).await
    }

    async fn incarnation(&self) -> Result<Option<String>, Error> {
        self.client.incarnation().await
    }

    fn last_error(&self) -> Option<Error> {
        self.watches.error()
    }

    fn hides(&self, service: &str) -> bool {
        self.watches.hides(service)
    }

    fn status(&self) -> RegistryStatus {
        self.watches.status()
    }

    async fn deregister_duplicates(&self, registration: &Registration) -> Result<(), Error> {
        for id in self.client.duplicates_of(registration).await? {
            warn!(
                id,
                by = registration.id,
                "deregistering what a killed process left at the same address"
            );
            self.client.deregister(&id).await?;
        }
        Ok(())
    }
}
