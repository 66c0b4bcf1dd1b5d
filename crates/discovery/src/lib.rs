//! Who is alive. One small trait, [`Discovery`], publishes snapshots; the backends are rows of
//! [`backends::BACKENDS`]. Readers take the current value of a `watch` channel and never lock.
//!
//! ```
//! use mesh_discovery::{Discovery, backends::Fixed};
//!
//! let registry = Fixed::parse(&["agent-echo=10.0.0.1:50052", "agent-echo=10.0.0.2:50052"]).unwrap();
//! let instances = registry.watch("agent-echo");
//! let snapshot = instances.borrow().clone().expect("a fixed list is known at once");
//! assert_eq!(snapshot.serving().count(), 2);
//! assert_eq!(snapshot.instances[0].public_id(), "echo-agent");
//! ```

pub mod backends;
mod error;
mod instance;
mod kv;
mod names;
mod publish;
mod registrar;
mod registration;
mod service_watches;
mod snapshot;
mod status;
mod validate;

use std::{fmt, sync::Arc};

use tokio::sync::watch;

pub use error::Error;
pub use instance::{Health, Instance, InstanceKey, ServiceKind, authority};
pub use kv::KvEntries;
pub use names::{consul_name, identity, resolve};
pub use registrar::Registrar;
pub use registration::{Check, Registration};
pub use service_watches::{ServiceWatches, first_answer};
pub use snapshot::{Catalog, Snapshot};
pub use status::{LeftOut, RegistryStatus};

/// A registry of service instances: it publishes what it knows, and takes registrations.
#[async_trait::async_trait]
pub trait Discovery: fmt::Debug + Send + Sync + 'static {
    /// The names and tags of the services that belong to the mesh. `None` until the registry has
    /// answered once.
    fn catalog(&self) -> watch::Receiver<Option<Arc<Catalog>>>;

    /// The instances of one service. The first call for a name starts watching it, and watching
    /// ends with the last receiver. `None` until the registry has answered once. A service that
    /// does not exist is a snapshot without instances.
    fn watch(&self, service: &str) -> watch::Receiver<Option<Arc<Snapshot>>>;

    /// The settings that operators have written for the mesh. The first call starts watching them,
    /// and watching ends with the last receiver. `None` until the registry has answered once.
    fn entries(&self) -> watch::Receiver<Option<Arc<KvEntries>>>;

    /// Writes or removes one of those settings.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn write(&self, key: &str, value: Option<&str>) -> Result<(), Error>;

    /// Registers one instance, or replaces the registration with the same ID.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn register(&self, registration: &Registration) -> Result<(), Error>;

    /// Whether the registry still has this instance.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn is_registered(&self, id: &str) -> Result<bool, Error>;

    /// Removes the registration of one instance. It is no error when there is none.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn deregister(&self, id: &str) -> Result<(), Error>;

    /// Identifies one run of the registry. A registry that lost its data has another. `None` when
    /// it does not say: then only an outage tells that it may have lost its data.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn incarnation(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Why the registry does not answer; `None` while it does.
    fn last_error(&self) -> Option<Error> {
        None
    }

    /// Whether the registry names a service and shows us none of its instances: then it is not known
    /// whether there are any.
    fn hides(&self, service: &str) -> bool {
        let _ = service;
        false
    }

    /// The state of the registry, and which of its entries cannot be called.
    fn status(&self) -> RegistryStatus {
        RegistryStatus::default()
    }

    /// Removes what killed processes left: other registrations of the same service at the same
    /// address and port. Only the caller can be there now. Their checks reach the caller and pass,
    /// so nobody else removes them, and one process would count as several. A registry without
    /// checks of its own has nothing to remove.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    async fn deregister_duplicates(&self, registration: &Registration) -> Result<(), Error> {
        let _ = registration;
        Ok(())
    }
}
