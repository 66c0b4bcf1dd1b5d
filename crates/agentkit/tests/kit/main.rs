//! The kit as callers, tools and models see it: over real sockets, with a model endpoint of the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

mod agents;
mod models;
mod probes;
mod toolbox;
mod tools;
mod workers;
