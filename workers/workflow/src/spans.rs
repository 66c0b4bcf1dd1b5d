//! One trace for each run: a span for the whole, and the jobs of its nodes below it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use telemetry::{Span, SpanEnd, SpanId, SpanKind, TRACEPARENT, TraceContext, tracing_enabled};
use workflow::RunStatus;

use crate::{clock, loaded::RunMeta};

/// The ID of the span of a run: whichever runner has the run, it knows it.
fn span_id(run_id: &str) -> SpanId {
    xxhash_rust::xxh3::xxh3_64(run_id.as_bytes()).max(1).into()
}

fn brought(meta: &RunMeta) -> Option<TraceContext> {
    let text = meta.start.trace.get(TRACEPARENT)?;
    TraceContext::parse(text.as_bytes())
}

/// The trace context of the jobs of a run: below the span of the run.
pub(crate) fn of_jobs(meta: &RunMeta) -> BTreeMap<String, String> {
    let mut trace = meta.start.trace.clone();
    if let Some(parent) = brought(meta).filter(|it| it.sampled && tracing_enabled()) {
        let below = parent.below(span_id(&meta.run_id));
        trace.insert(TRACEPARENT.to_owned(), below.to_string());
    }
    trace
}

/// Ends the span of a run, which began when the run did.
pub(crate) fn ended(meta: &RunMeta, status: RunStatus, error: Option<&str>) {
    let Some(parent) = brought(meta).filter(|_| tracing_enabled()) else {
        return;
    };
    let now = Instant::now();
    let took = clock::now().saturating_sub(meta.started_at.unwrap_or_else(clock::now));
    // A run may be older than this machine's clock of instants.
    let began = now.checked_sub(Duration::from_millis(took)).unwrap_or(now);
    let span = Span::with_id(parent, span_id(&meta.run_id), began);
    let name = format!("workflow {}", meta.tag.as_deref().unwrap_or("inline"));
    let end = SpanEnd {
        name: &name,
        kind: SpanKind::Internal,
        failed: status == RunStatus::Failed,
        at: now,
    };
    span.end(end, |fields| {
        fields.text("mesh.workflow.run_id", &meta.run_id);
        fields.text("mesh.workflow.status", status.as_str());
        if let Some(error) = error {
            fields.text("mesh.workflow.error", &telemetry::redact(error));
        }
    });
}
