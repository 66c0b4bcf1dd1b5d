//! The client's side of a trace: a span for each attempt, whose context goes with its request.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use discovery::Instance;
use http::{HeaderMap, HeaderValue, Uri};
use proto::MeshCause;
use telemetry::{
    Span, SpanEnd, SpanFields, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, rpc,
    tracing_enabled,
};
use tonic::Code;

/// What the attempts of one call are below.
#[derive(Debug, Default)]
pub(crate) struct CallTrace {
    parent: Option<TraceContext>,
    /// What tracing systems have added to it.
    state: Option<HeaderValue>,
    /// Of the first attempt, where nothing is above it: the others are below that.
    first: OnceLock<TraceContext>,
}

/// The span of an attempt; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct AttemptSpan {
    span: Span,
    uri: Uri,
    instance: Arc<Instance>,
    number: usize,
    /// Its status, and why the mesh gave it, if it did.
    outcome: OnceLock<(Code, Option<MeshCause>)>,
    /// The answer has come to its end.
    ended: AtomicBool,
}

impl CallTrace {
    /// The trace of a request: that of the task which sends it, else that of its headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if !tracing_enabled() {
            return Self::default();
        }
        Self {
            parent: TraceContext::current().or_else(|| TraceContext::of(headers)),
            state: TraceContext::current_state(),
            first: OnceLock::new(),
        }
    }

    /// Begins an attempt. Its context is written into the headers of its request, over what a caller
    /// may have put there.
    pub(crate) fn begin(
        &self,
        uri: &Uri,
        instance: &Arc<Instance>,
        number: usize,
        headers: &mut HeaderMap,
    ) -> Option<AttemptSpan> {
        let span = self.begin_span(headers)?;
        Some(AttemptSpan {
            span,
            uri: uri.clone(),
            instance: Arc::clone(instance),
            number,
            outcome: OnceLock::new(),
            ended: AtomicBool::new(false),
        })
    }

    /// The span alone, of a request that is sent in some other way.
    pub(crate) fn begin_span(&self, headers: &mut HeaderMap) -> Option<Span> {
        if !tracing_enabled() {
            return None;
        }
        let parent = self.parent.or_else(|| self.first.get().copied());
        let span = Span::begin(parent, Instant::now());
        let context = *self.first.get_or_init(|| span.context());
        let context = if parent.is_some() {
            span.context()
        } else {
            context
        };
        if TraceContext::of(headers) != Some(context) {
            self.write(context, headers);
        }
        Some(span)
    }

    fn write(&self, context: TraceContext, headers: &mut HeaderMap) {
        let brought = TraceContext::of(headers);
        if brought.is_none_or(|brought| brought.trace_id != context.trace_id) {
            // It belonged to another trace.
            headers.remove(TRACESTATE);
        }
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
        if let Ok(value) = HeaderValue::from_bytes(&context.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// Ends the span of a request to this path: what every one says of its method and its outcome, and more.
pub(crate) fn end_span(
    span: Span,
    path: &str,
    code: Option<i32>,
    cause: Option<MeshCause>,
    more: impl FnOnce(&mut SpanFields<'_>),
) {
    let method = path.trim_start_matches('/');
    let failed = code.is_some_and(rpc::is_server_error);
    let end = SpanEnd {
        name: method,
        kind: SpanKind::Client,
        failed,
        at: Instant::now(),
    };
    span.end(end, |fields| {
        fields.text("rpc.system.name", "grpc");
        fields.text("rpc.method", method);
        if let Some(code) = code.map(rpc::code_name) {
            fields.text("rpc.response.status_code", code);
            if failed {
                fields.text("error.type", code);
            }
        }
        if let Some(cause) = cause {
            fields.text("mesh.cause", &cause.to_string());
        }
        more(fields);
    });
}

impl AttemptSpan {
    /// It ended with this status. The first that is known counts: what follows is the end of the rest.
    pub(crate) fn end(&self, code: Code, cause: Option<MeshCause>) {
        self.outcome.get_or_init(|| (code, cause));
        self.over();
    }

    /// Its answer is over; a status may have come before, or never.
    pub(crate) fn over(&self) {
        self.ended.store(true, Relaxed);
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        let cut = (!self.ended.load(Relaxed)).then_some((Code::Cancelled, None));
        let outcome = self.outcome.get().copied().or(cut);
        let code = outcome.map(|(code, _)| code as i32);
        let cause = outcome.and_then(|(_, cause)| cause);
        end_span(self.span, self.uri.path(), code, cause, |fields| {
            fields.text("mesh.service", &self.instance.service);
            fields.text("mesh.instance", &self.instance.key.id);
            let number = i64::try_from(self.number).unwrap_or(i64::MAX);
            fields.number("mesh.attempt", number);
            fields.text("server.address", &self.instance.host);
            fields.number("server.port", self.instance.port.into());
        });
    }
}
