//! Requests to servers outside the mesh, for jobs and tools whose addresses come from users.
//!
//! An [`HttpClient`] sends only what its [`EgressPolicy`] allows: nothing while external requests
//! are off, and nothing to an internal address, except to hosts that the operator lists. It
//! connects to the address that was checked, since it resolves a name once for each hop.
//! Certificates are checked against the name. Each redirect is checked too. Proxies of the
//! environment are not used.
//!
//! ```no_run
//! use mesh_fetch::{EgressPolicy, FetchLimits, HttpClient, Request};
//!
//! # async fn example() -> Result<(), mesh_fetch::Error> {
//! let client = HttpClient::new(EgressPolicy::new(true, &[]), FetchLimits::default())?;
//! let answer = client.send(Request::get("https://example.com/".parse().unwrap())).await?;
//! println!("{} {} bytes", answer.status, answer.body.len());
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod connect;
mod connector;
mod egress_policy;
mod error;
mod kept;
mod keys;
mod redirect;
mod request;
mod retry_after;

pub use address::{AddressClass, classify};
pub use client::{HttpClient, HttpResponse, client};
pub use connector::{Connector, SystemConnector};
pub use egress_policy::EgressPolicy;
pub use error::Error;
pub use kept::{Driver, KeptConnection, SendError};
pub use keys::{ExternalHostKeys, ExternalKeys, FetchLimits, KEYS};
pub use request::Request;
