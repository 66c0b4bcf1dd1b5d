//! Consul: registration with the local agent, discovery by blocking queries.
//!
//! [`options`] says how to reach it, [`client`] asks it single questions, [`answers`] turns its
//! JSON into our values, [`feed`] follows one answer over time and [`watching`] owns the tasks
//! that do so. [`overseer`] and [`sweep`] take over when there are many. [`sight`] doubts empty answers, and
//! [`cache`] keeps what is known on the disk.

mod answers;
mod cache;
mod client;
mod cursor;
mod entries;
mod feed;
mod hold;
mod options;
mod outage;
mod overseer;
mod request;
mod sight;
mod sweep;
mod watching;

use std::sync::Arc;

use tokio::sync::watch;
use tracing::warn;

pub use options::ConsulOptions;

use self::{cache::Cache, client::Client, watching::Watching};
use crate::{Catalog, Discovery, Entries, Error, Registration, Report, Snapshot};

/// What errors call this registry.
const NAME: &str = "consul";

/// The Consul agent of this host. Dropping it ends every watch.
#[derive(Debug)]
pub struct Consul {
    client: Arc<Client>,
    watching: Arc<Watching>,
}

impl Consul {
    /// Reads certificates and builds the client; Consul itself may still be down. Watches run as
    /// tasks on the current tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is unusable.
    pub fn new(options: ConsulOptions) -> Result<Self, Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| Error::Config {
            key: "consul",
            reason: format!("build it inside a tokio runtime: {error}"),
        })?;
        let client = Arc::new(Client::new(&options)?);
        let cache = options
            .cache
            .map(|path| Cache::open(path, client.address()));
        let watching = Watching::new(client.clone(), runtime, cache);
        Ok(Self { client, watching })
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        self.watching.stop();
    }
}

#[async_trait::async_trait]
impl Discovery for Consul {
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>> {
        self.watching.catalog()
    }

    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.watching.service(service)
    }

    fn entries(&self) -> watch::Receiver<Option<Arc<Entries>>> {
        self.watching.entries()
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

    fn trouble(&self) -> Option<String> {
        self.watching.outages.trouble()
    }

    fn report(&self) -> Report {
        self.watching.report()
    }

    async fn displace(&self, registration: &Registration) -> Result<(), Error> {
        for id in self.client.others_at(registration).await? {
            warn!(
                id,
                by = registration.id,
                "removing what a killed process left"
            );
            self.client.deregister(&id).await?;
        }
        Ok(())
    }
}
