//! The real agents and tools over real sockets and real documents, with and without a model.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail as the test does"
)]

mod extractive;
mod model;
mod world;
