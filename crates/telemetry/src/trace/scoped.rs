//! A span around a future: what an agent, a tool, a job or a request of HTTP does.

use std::time::Instant;

use super::{Span, SpanEnd, SpanFields, SpanKind, TraceContext, tracing_enabled};

/// A span that ends when it is dropped. Its attributes are kept from when they are known. Without an
/// exporter it is nothing.
#[derive(Debug)]
pub struct ScopedSpan {
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    span: Span,
    name: String,
    kind: SpanKind,
    fields: Vec<u8>,
    failed: bool,
}

impl ScopedSpan {
    /// Begins a span below the current context.
    #[must_use]
    pub fn begin(name: impl Into<String>, kind: SpanKind) -> Self {
        Self::below(TraceContext::current(), name, kind)
    }

    /// Begins a span below this context.
    #[must_use]
    pub fn below(parent: Option<TraceContext>, name: impl Into<String>, kind: SpanKind) -> Self {
        if !tracing_enabled() {
            return Self { open: None };
        }
        Self::of(Span::begin(parent, Instant::now()), name, kind)
    }

    /// The same of a span that has begun already.
    #[must_use]
    pub fn of(span: Span, name: impl Into<String>, kind: SpanKind) -> Self {
        Self {
            open: Some(Box::new(Open {
                span,
                name: name.into(),
                kind,
                fields: Vec::new(),
                failed: false,
            })),
        }
    }

    /// Its context; without an exporter the current one.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        match &self.open {
            Some(open) => Some(open.span.context()),
            None => TraceContext::current(),
        }
    }

    /// Runs a future within its context.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        match self.context() {
            Some(context) => context.scope(future).await,
            None => future.await,
        }
    }

    /// Runs a function within its context.
    pub fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        match self.context() {
            Some(context) => context.sync_scope(run),
            None => run(),
        }
    }

    /// Gives it attributes. `fields` is not asked without an exporter.
    pub fn record(&mut self, fields: impl FnOnce(&mut SpanFields<'_>)) {
        if let Some(open) = &mut self.open {
            fields(&mut SpanFields::new(&mut open.fields));
        }
    }

    /// Names why it failed, by a word of few different values: OpenTelemetry's `error.type`.
    pub fn fail(&mut self, error_type: &str) {
        if let Some(open) = &mut self.open {
            open.failed = true;
            SpanFields::new(&mut open.fields).text("error.type", error_type);
        }
    }
}

impl Drop for ScopedSpan {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let end = SpanEnd {
                name: &open.name,
                kind: open.kind,
                failed: open.failed,
                at: Instant::now(),
            };
            open.span.end(end, |fields| fields.append(&open.fields));
        }
    }
}
