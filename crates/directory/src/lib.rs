//! Who is in the mesh, and what each service says of itself.
//!
//! A [`Directory`] follows the registry and publishes whole [`DirectorySnapshot`]s. What only instances
//! know is asked once per generation of a service: its [`Descriptors`] by gRPC reflection, and its own
//! entry of [`list`].

mod descriptors;
mod directory;
mod follow;
mod lists;
mod registered;
mod service;
mod single_flight;
mod snapshot;

pub use descriptors::Descriptors;
pub use directory::Directory;
pub use lists::{Info, list, own_entry};
pub use registered::RegisteredService;
pub use service::Service;
pub use single_flight::QUERY_TIMEOUT;
pub use snapshot::DirectorySnapshot;
