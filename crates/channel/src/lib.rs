//! Embedded load balancing: how every program of the mesh calls another.
//!
//! A call is read in this order: [`Mesh::call`] (deadline, attempts) → `acquire` (policy → instance →
//! connection with a free stream) → `connection` (request out, answer in) → `body` (the answer is
//! watched to its end) → back to the statistics, and to `retry`, which decides whether another
//! attempt is allowed; `hedge` sends a second one before the first has failed. `fleet` keeps the
//! instances of a service, `probe` asks the silent ones.

mod acquire;
mod announced;
mod backoff;
mod body;
mod budget;
mod call;
mod candidates;
mod client;
mod connection;
pub mod deadline;
mod dial;
mod endpoint;
mod error;
mod faults;
mod fleet;
mod hedge;
mod incoming;
mod inspect;
mod lease;
mod metrics;
mod options;
mod orca;
mod probe;
mod queue;
mod replay;
mod retry;
mod roster;
mod settings;
mod shared;
mod upload;
mod view;
mod watch;

mod mesh;

pub use body::ResponseBody;
pub use candidates::Burst;
pub use client::Channel;
pub use error::Error;
pub use inspect::{EndpointState, EndpointStatus};
pub use lease::{Attempted, Lease, Peer};
pub use mesh::{Mesh, Target};
pub use metrics::Metrics;
pub use options::Options;
pub use retry::{PREVIOUS_ATTEMPTS, Pushback};
pub use settings::{Meta, Settings};
pub use shared::Moment;

/// Which instance answered: in the extensions of a response of [`Mesh::call`].
#[derive(Clone, Debug)]
pub struct ServedBy(pub std::sync::Arc<discovery::Instance>);
