//! What every store does alike: each test runs on every row of the table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod commits;
mod content;
mod creating;
mod events;
mod searching;
mod shards;
#[path = "../support/mod.rs"]
mod support;
mod sweeping;
mod tags;
mod waiting;
