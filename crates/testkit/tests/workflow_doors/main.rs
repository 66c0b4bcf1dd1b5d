//! The doors of workflows, as clients see them: over real sockets, on the embedded store, with the
//! programs that carry runs out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod bad_input;
mod catalog;
mod control;
mod events;
mod examples;
mod killed;
mod predecessor;
mod runs;
mod support;
