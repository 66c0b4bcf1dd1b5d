//! The client: how every program of the mesh calls another, balanced over its healthy instances.
//!
//! A call passes [`Mesh::call`] (deadline, attempts) → `acquire` (policy → endpoint → connection
//! with a free stream) → `connection` (request out, answer in) → `body` (to the end of the answer)
//! → the statistics. `retry` decides whether another attempt is allowed, and `hedge` sends a second
//! one before the first has failed. The crate `cluster` has the endpoints and their health.

mod acquire;
mod attempt;
mod attempt_span;
mod body;
mod call;
mod call_timer;
mod candidates;
mod client;
mod cluster_client;
mod connection;
mod connections;
pub mod deadline;
mod dial;
mod error;
mod hedge;
mod http_status;
mod incoming;
mod mesh;
mod metrics;
mod orca;
mod queue;
mod replay;
mod retry;
mod retry_budget;
mod routed;
mod send;
mod sniff;
mod upload;

pub use attempt::{CallAttempt, Peer, RetryRequest};
pub use body::{ResponseBody, grpc_status};
pub use call::RETRY_PAUSE;
pub use candidates::CallAffinity;
pub use client::Channel;
pub use cluster::{
    ClusterOptions, EndpointHealth, EndpointStatus, Meta, MetadataLimit, ServiceConfig, Timestamp,
};
pub use error::Error;
pub use mesh::{Mesh, Target};
pub use retry::{PREVIOUS_ATTEMPTS, Pushback};
pub use sniff::protocol_mismatch;

/// The instance that answered, in the extensions of a response of [`Mesh::call`].
#[derive(Clone, Debug)]
pub struct ServedBy(pub std::sync::Arc<discovery::Instance>);
