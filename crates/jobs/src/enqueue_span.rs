//! The span of a submission. Its context goes with the job: whoever runs it continues the trace.

use std::time::Instant;

use telemetry::{Span, SpanEnd, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, tracing_enabled};

use crate::{Error, NewJob, Submitted};

/// A submission that is under way.
#[derive(Debug)]
pub(crate) struct EnqueueSpan {
    span: Span,
    queue: String,
}

impl EnqueueSpan {
    /// Begins the submission of a job, below the trace that the job brings. `None` without an exporter.
    pub(crate) fn begin(job: &mut NewJob) -> Option<Self> {
        if !tracing_enabled() {
            return None;
        }
        let brought = job.trace.get(TRACEPARENT);
        let parent = brought.and_then(|text| TraceContext::parse(text.as_bytes()));
        let span = Span::begin(parent, Instant::now());
        if parent != Some(span.context()) {
            let text = span.context().to_string();
            job.trace.insert(TRACEPARENT.to_owned(), text);
        }
        if parent.is_none() {
            // It belonged to another trace.
            job.trace.remove(TRACESTATE);
        }
        Some(Self {
            span,
            queue: job.queue.clone(),
        })
    }

    /// Ends it with what the store said.
    pub(crate) fn end(self, outcome: &Result<Submitted, Error>) {
        let name = format!("enqueue {}", self.queue);
        // What is wrong with a job is its submitter's affair.
        let failed = matches!(
            outcome,
            Err(Error::Unavailable { .. } | Error::Broken { .. })
        );
        let end = SpanEnd {
            name: &name,
            kind: SpanKind::Producer,
            failed,
            at: Instant::now(),
        };
        self.span.end(end, |fields| {
            fields.text("messaging.system", "mesh");
            fields.text("messaging.operation.type", "send");
            fields.text("messaging.destination.name", &self.queue);
            match outcome {
                Ok(submitted) => {
                    fields.text("messaging.message.id", &submitted.id.to_string());
                }
                Err(_) if failed => fields.text("error.type", "unavailable"),
                Err(_) => {}
            }
        });
    }
}
