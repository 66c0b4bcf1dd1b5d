//! The channel against real servers on sockets, with a registry in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod answers;
mod cancellation;
mod deadlines;
mod ejection;
mod hedging;
mod limits;
mod membership;
mod metrics;
mod reports;
mod retries;
mod scale;
mod server;
mod silence;
mod spread;
mod support;
