//! The gateway as its clients see it, over real sockets, on a real Redis and on the embedded store.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod calls;
mod doors;
mod edge;
mod events;
mod jobs;
mod mcp;
mod metrics;
mod registry;
mod schedules;
mod seeds;
mod store;
mod support;
mod tasks;
mod web;
mod words;
