//! Logs, traces and metrics of every program of the mesh.
//!
//! Logs and traces are the process's, so [`init`] is called once, in `main`. Metrics are values
//! that are passed in: a [`MetricsRegistry`] belongs to one service, and several live in one
//! process.

mod causes;
mod disk;
mod dropped;
mod error;
mod humanize;
pub mod json_text;
mod level;
mod log;
mod metrics;
mod options;
mod otlp;
mod process;
mod redact;
pub mod rpc;
mod trace;

pub use causes::{error_chain, root_cause};
pub use disk::{DiskSpace, Disks};
pub use dropped::{dropped, register_dropped};
pub use error::Error;
pub use humanize::humanize;
pub use level::{LogLevel, log_level, set_log_level};
pub use log::{TelemetryGuard, init};
pub use metrics::{
    Counter, FloatCounter, FloatGauge, Gauge, Histogram, Kind, Labelled, Metric, MetricRow,
    MetricsRegistry, Series, TextFormat,
};
pub use options::{LogFormat, LogOutput, TelemetryOptions};
pub use otlp::{OtlpOptions, OtlpProtocol, Signal, otlp_dropped, otlp_headers};
pub use process::register_process;
pub use redact::{redact, redact_json};
pub use trace::{
    ScopedSpan, Span, SpanEnd, SpanFields, SpanId, SpanKind, TRACEPARENT, TRACESTATE, TraceContext,
    TraceId, TraceOptions, TraceScope, new_span_id, trace_content, tracing_enabled, write_hex,
};
