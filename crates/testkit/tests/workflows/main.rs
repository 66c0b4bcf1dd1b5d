//! Workflows carried out by the real programs on the embedded stores: jobs and runs are on this machine's
//! disk, the agents are reached by gRPC.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent;
mod http_nodes;
mod keys;
mod shapes;
mod support;
mod waits;
