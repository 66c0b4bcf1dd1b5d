//! Measures a queue on whatever store it has: empty jobs, from enqueue to done.
//!
//! Everything that jobs have is on: leases, fencing, results, events; idempotency keys when the
//! plan says so. What it leaves in a Redis is gone after [`BenchStore::clear`].

mod growth;
mod latency;
mod store;
mod throughput;

pub use growth::{GrowthStep, growth};
pub use latency::{Latency, latency};
pub use store::BenchStore;
pub use throughput::{Plan, Progress, Rate, throughput};
