//! Requests to servers outside the mesh, for jobs and tools whose addresses come from users.
//!
//! A [`Client`] sends nothing unless its [`Guard`] lets it: not while external requests are
//! switched off, and never to an address inside, except to hosts that the operator lists. The
//! address that is checked is the address that is connected to: a name is resolved once a hop, and
//! a second answer of its server is never asked for. Certificates are still checked against the
//! name. Redirects are followed here, each one checked anew. A proxy of the environment is not
//! used.

mod address;
mod client;
mod connect;
mod error;
mod guard;
mod keys;
mod network;
mod redirect;
mod retry_after;

pub use address::{Reach, reach};
pub use client::{Answer, Client, Limits, Request};
pub use error::Error;
pub use guard::Guard;
pub use keys::{KEYS, client};
pub use network::{Network, System};
