//! Calls through a router within this process, over real connections: whom they reach, what instances
//! get and callers are told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attempts;
mod by_hand;
mod causes;
mod http_answers;
mod identity;
mod large_metadata;
mod metrics;
mod protocols;
mod routes;
mod world;
