//! The endpoints of one service as this process sees them: membership, health, ejection, snapshots.
//!
//! A [`Cluster`] follows the registry. Each change makes a new [`ClusterSnapshot`], from which a
//! caller picks an [`Endpoint`]. The caller reports the outcome of each call. Enough failures in a
//! row eject an endpoint (`ejection`), a silent one is probed (`probe`), and a failed connect is
//! retried in the background.
//!
//! The caller's [`Connections`] open the connections.

mod clock;
mod cluster;
mod connections;
mod ejection;
mod endpoint;
mod endpoint_set;
mod health;
mod metrics;
mod options;
mod probe;
mod service_config;
mod service_meta;
mod shared;
mod snapshot;
mod waiters;

pub use clock::{Clock, Timestamp};
pub use cluster::{Cluster, EndpointStatus};
pub use connections::{ConnectArgs, Connections};
pub use endpoint::Endpoint;
pub use health::EndpointHealth;
pub use metrics::{EndpointMetrics, EndpointSeries};
pub use options::{ClusterOptions, MetadataLimit};
pub use service_config::{FixedServiceConfig, Meta, ServiceConfig};
pub use shared::Shared;
pub use snapshot::ClusterSnapshot;
pub use waiters::{Waiter, Waiters};
