//! Traces. A call has a [`TraceContext`], which is passed on; a [`Span`] is made of it where the trace is
//! recorded, or once the call has ended badly. Without an endpoint nothing of this exists, and whoever
//! makes spans for calls asks [`tracing_enabled`] first.

mod context;
mod late;
mod scoped;
mod span;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    Error, TelemetryOptions,
    otlp::{Destination, Exporter, OtlpOptions, Queue, Resource, Signal},
};

pub use context::{TRACEPARENT, TRACESTATE, TraceContext, TraceScope, new_span_id, write_hex};
pub use opentelemetry::trace::{SpanId, TraceId};
pub use scoped::ScopedSpan;
pub use span::{Span, SpanEnd, SpanFields, SpanKind};

static ENABLED: AtomicBool = AtomicBool::new(false);
static CONTENT: AtomicBool = AtomicBool::new(false);
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Which traces are recorded, and what of them.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Which part of the traces that begin here is recorded, 0–1. The choice of whoever began a trace
    /// before is kept.
    pub ratio: f64,
    /// Calls that take longer are exported afterwards; 0 for none.
    pub slow: Duration,
    /// At most so many calls a second are exported afterwards.
    pub errors: u32,
    /// Whether spans hold prompts and answers of models.
    pub content: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            ratio: 1.0,
            slow: Duration::ZERO,
            errors: 10,
            content: false,
        }
    }
}

/// Whether spans are exported: ask before making one for a call.
#[must_use]
pub fn tracing_enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// Whether spans may hold what models are asked and answer.
#[must_use]
pub fn trace_content() -> bool {
    CONTENT.load(Relaxed)
}

pub(crate) fn disable() {
    ENABLED.store(false, Relaxed);
}

fn queue() -> Option<&'static Arc<Queue>> {
    QUEUE.get().filter(|_| tracing_enabled())
}

/// Begins to export spans.
pub(crate) fn start(otlp: &OtlpOptions, options: &TelemetryOptions) -> Result<Exporter, Error> {
    let traces = &options.traces;
    context::set_ratio(traces.ratio);
    late::set(traces.slow, traces.errors);
    CONTENT.store(traces.content, Relaxed);
    let queue = QUEUE.get_or_init(|| Arc::new(Queue::new(Signal::Spans)));
    let to = Destination::new(otlp, Signal::Spans)?;
    let exporter = Exporter::start(Arc::clone(queue), Resource::of(options), to)?;
    ENABLED.store(true, Relaxed);
    Ok(exporter)
}
