//! The runner as a program, on a real Redis and beside a real echo agent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deaths;
mod kinds;
mod store;
mod support;
