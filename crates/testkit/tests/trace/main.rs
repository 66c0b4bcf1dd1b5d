//! Traces of real programs, in a real Jaeger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod collectors;
mod jobs;
mod sampling;
mod view;
mod workflows;
