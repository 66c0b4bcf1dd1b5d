//! Faults under runs of workflows: runners, PostgreSQL and Redis are killed, stopped and emptied while runs of
//! mixed shapes are created at a steady rate. Every run ends once, and every node's end is taken once.
//!
//! | variable | meaning |
//! |---|---|
//! | `MESH_TEST_WORKFLOW_RUNS` | how many runs each fault meets; 300 |
//! | `MESH_TEST_WORKFLOW_RATE` | how many of them are created in a second; 30 |
//! | `MESH_TEST_WORKFLOW_WAITING` | how many approvals and timers wait; 100 |
//! | `MESH_TEST_WORKFLOW_STOP` | how many seconds a runner is stopped; 8 |
//!
//! `make test-workflows` runs them with programs that are optimized, at the size that the guide speaks of.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod fleet;
mod killed;
mod load;
mod patched;
mod stores;
mod waiting;
