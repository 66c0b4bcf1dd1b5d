//! Logs, traces and metrics of every program of the mesh.
//!
//! Logs and traces are the process's, so [`init`] is called once, in `main`. Metrics are values
//! that are passed in: a [`MetricsRegistry`] belongs to one service, and several live in one process.

mod error;
mod level;
mod log;
mod humanize;
pub mod propagation;
mod redact;
mod metrics;
pub mod rpc;
mod trace;

pub use error::Error;
pub use level::{LogLevel, log_level, set_log_level};
pub use log::{LogFormat, TelemetryGuard, TelemetryOptions, LogOutput, init};
pub use humanize::humanize;
pub use prometheus_client;
pub use redact::redact;
pub use metrics::{CONTENT_TYPE, MetricsRegistry};
pub use trace::tracing_enabled;
