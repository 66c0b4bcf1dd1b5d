//! What users may make a client do, and what not: each way around the policy, tried.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod answers;
mod support;
mod tls;
