//! Requests to servers outside the mesh, for jobs and tools whose addresses come from users.
//!
//! A [`HttpClient`] sends nothing unless its [`EgressPolicy`] lets it: not while external requests
//! are switched off, and never to an address inside, except to hosts that the operator lists. The
//! address that is checked is the address that is connected to: a name is resolved once a hop, and
//! a second answer of its server is never asked for. Certificates are still checked against the
//! name. Redirects are followed here, each one checked anew. A proxy of the environment is not
//! used.

mod address;
mod client;
mod connect;
mod connector;
mod egress_policy;
mod error;
mod keys;
mod redirect;
mod request;
mod retry_after;

pub use address::{AddressClass, classify};
pub use client::{FetchLimits, HttpClient, HttpResponse};
pub use connector::{Connector, SystemConnector};
pub use egress_policy::EgressPolicy;
pub use error::Error;
pub use keys::{ExternalHostKeys, ExternalKeys, ExternalLimitKeys, KEYS, client};
pub use request::Request;
