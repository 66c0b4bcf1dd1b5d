//! Logs, traces and metrics of every program of the mesh.
//!
//! Logs and traces are the process's, so [`init`] is called once, in `main`. Metrics are values
//! that are passed in: a [`Registry`] belongs to one service, and several live in one process.

mod error;
mod level;
mod log;
mod plain;
pub mod propagation;
mod redact;
mod registry;
pub mod rpc;
mod trace;

pub use error::Error;
pub use level::{Level, log_level, set_log_level};
pub use log::{Format, Guard, Options, Output, init};
pub use plain::plain;
pub use prometheus_client;
pub use redact::redact;
pub use registry::{CONTENT_TYPE, Registry};
pub use trace::tracing_enabled;
