//! Embedded load balancing: how every program of the mesh calls another.
//!
//! A call is read in this order: [`Mesh::call`] (deadline, attempts) → `acquire` (policy → instance →
//! connection with a free stream) → `connection` (request out, answer in) → `body` (the answer is
//! watched to its end) → back to the statistics, and to `retry`, which decides whether another
//! attempt is allowed; `hedge` sends a second one before the first has failed. `cluster` keeps the
//! instances of a service, `probe` asks the silent ones.

mod acquire;
mod attempt;
mod backoff;
mod body;
mod call;
mod candidates;
mod client;
mod cluster;
mod connection;
pub mod deadline;
mod dial;
mod ejection;
mod endpoint;
mod endpoint_set;
mod error;
mod health;
mod hedge;
mod http_status;
mod incoming;
mod inspect;
mod metrics;
mod options;
mod orca;
mod probe;
mod queue;
mod replay;
mod retry;
mod retry_budget;
mod service_config;
mod service_meta;
mod shared;
mod snapshot;
mod sniff;
mod upload;

mod mesh;

pub use attempt::{CallAttempt, Peer, RetryRequest};
pub use body::ResponseBody;
pub use candidates::CallAffinity;
pub use client::Channel;
pub use error::Error;
pub use http_status::http_code;
pub use inspect::{EndpointState, EndpointStatus};
pub use mesh::{Mesh, Target};
pub use metrics::ClusterMetrics;
pub use options::{ClusterOptions, MetadataLimit};
pub use retry::{PREVIOUS_ATTEMPTS, Pushback};
pub use service_config::{Meta, ServiceConfig};
pub use shared::Timestamp;
pub use sniff::protocol_mismatch;

/// Which instance answered: in the extensions of a response of [`Mesh::call`].
#[derive(Clone, Debug)]
pub struct ServedBy(pub std::sync::Arc<discovery::Instance>);
