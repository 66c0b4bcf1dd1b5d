//! Who is alive. One small trait, [`Discovery`], publishes snapshots; the backends are rows of
//! [`backends::BACKENDS`]. Readers take the current value of a `watch` channel and never lock.

pub mod backends;
mod backoff;
mod error;
mod instance;
mod kv;
mod publish;
mod registrar;
mod registration;
mod service_watches;
mod snapshot;
mod status;
mod validate;

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use backoff::Backoff;
pub use error::Error;
pub use instance::{Health, Instance, InstanceKey, ServiceKind};
pub use kv::KvEntries;
pub use registrar::Registrar;
pub use registration::{Check, Registration};
pub use service_watches::{ServiceWatches, first_answer};
pub use snapshot::{Catalog, Snapshot};
pub use status::{LeftOut, RegistryStatus};

/// A registry of service instances: it publishes what it knows, and takes registrations.
#[async_trait::async_trait]
pub trait Discovery: fmt::Debug + Send + Sync + 'static {
    /// The names and tags of the services that belong to the mesh.
    /// `None` until the registry has answered for the first time.
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>>;

    /// The instances of one service. The first call for a name starts watching it, and watching
    /// ends when the last receiver is gone. `None` until the registry has answered for the first
    /// time; a service that does not exist is a snapshot without instances.
    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>>;

    /// What operators have written for the mesh. The first call starts watching it, and watching
    /// ends when the last receiver is gone. `None` until the registry has answered for the first
    /// time.
    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>>;

    /// Writes one of those entries, or removes it.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error>;

    /// Registers one instance, or replaces the registration with the same ID.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn register(&self, registration: &Registration) -> Result<(), Error>;

    /// Whether the registry still knows this instance of ours.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn is_registered(&self, id: &str) -> Result<bool, Error>;

    /// Removes the registration of one instance; one that is not there is removed already.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn deregister(&self, id: &str) -> Result<(), Error>;

    /// What tells one life of the registry from the next: a registry that forgot everything has
    /// another. `None` when it does not say; what it forgot is then told by its having been away.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn incarnation(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Why the registry tells nothing at present; `None` while it answers.
    fn last_error(&self) -> Option<Error> {
        None
    }

    /// How the registry is, and which of its entries nobody can call.
    fn status(&self) -> RegistryStatus {
        RegistryStatus::default()
    }

    /// Removes what killed processes left: the other registrations of the same service at the same
    /// address and port, where only the one that calls this can be. Their checks reach it and pass,
    /// so nobody else ends them, and one process would count as several. A registry without checks
    /// of its own has nothing to remove.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    async fn deregister_duplicates(&self, registration: &Registration) -> Result<(), Error> {
        let _ = registration;
        Ok(())
    }
}
