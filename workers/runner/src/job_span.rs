//! The span of one attempt of a job. It continues the trace of whoever submitted the job, and each later
//! attempt links to the first.

use std::time::Instant;

use jobs::Job;
use telemetry::{ScopedSpan, Span, SpanId, SpanKind, TRACEPARENT, TraceContext, tracing_enabled};

/// Begins it.
pub(crate) fn begin(job: &Job, kind: &str) -> ScopedSpan {
    let name = format!("job {kind}");
    let brought = job.header.trace.get(TRACEPARENT);
    let parent = brought.and_then(|text| TraceContext::parse(text.as_bytes()));
    let mut span = match parent.filter(|_| tracing_enabled()) {
        Some(parent) if parent.sampled => {
            let id = span_id(job, job.header.attempt);
            let span = Span::with_id(parent, id, Instant::now());
            ScopedSpan::of(span, name, SpanKind::Consumer)
        }
        parent => ScopedSpan::below(parent, name, SpanKind::Consumer),
    };
    span.record(|fields| {
        fields.text("messaging.system", "mesh");
        fields.text("messaging.operation.type", "process");
        fields.text("messaging.destination.name", job.id.queue());
        fields.text("messaging.message.id", &job.id.to_string());
        fields.number("mesh.job.attempt", job.header.attempt.into());
        if let Some(parent) = parent.filter(|it| it.sampled && job.header.attempt > 1) {
            fields.link(parent.below(span_id(job, 1)));
        }
    });
    span
}

/// The ID of an attempt's span: whichever runner has an attempt, it knows the ID of the first.
fn span_id(job: &Job, attempt: u32) -> SpanId {
    let text = format!("{}/{attempt}", job.id);
    SpanId(xxhash_rust::xxh3::xxh3_64(text.as_bytes()).max(1))
}
