//! Observes every served call: a span if traces are exported, its metrics and its access log line.
//! The status is in the trailers, so the body is followed to its end.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use channel::grpc_status;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use proto::MeshCause;
use telemetry::{
    Span, SpanEnd, SpanKind, TraceContext, TraceScope, rpc, rpc::ServerCalls, tracing_enabled,
};
use tonic::{Code, Status, body::Body};

use crate::{
    ActiveTasks, TaskGuard,
    call_log::{CallHead, CallLog, FinishedCall},
    cause_slot::CauseSlot,
    clients::CallPermit,
    context,
};

/// What is held for a call until its end.
pub(crate) struct CallContext {
    /// The instance that serves it.
    pub(crate) instance: Arc<context::Context>,
    /// Its client, where that is known.
    pub(crate) client: Option<IpAddr>,
    /// The program's own listener has its span: here it goes on below that.
    pub(crate) has_span: bool,
    pub(crate) permit: Option<CallPermit>,
    /// Where its end is written down, and with what.
    pub(crate) log: Option<CallLog>,
    pub(crate) head: Option<Box<CallHead>>,
    /// Why the chassis, and not the service, ended it.
    pub(crate) cause: CauseSlot,
    /// Why the chassis answers it at all.
    pub(crate) answers: Option<MeshCause>,
}

/// Runs `next` for one request and follows its answer to the end.
pub(crate) async fn observe<B, F>(
    request: Request<B>,
    calls: &ServerCalls,
    active: &ActiveTasks,
    context: CallContext,
    next: impl FnOnce(Request<B>) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let (path, started) = (request.uri().path(), Instant::now());
    let caller = TraceContext::of(request.headers());
    let begins = tracing_enabled() && !context.has_span;
    let span = begins.then(|| Span::begin(caller, started));
    let trace = span.map(|span| span.context()).or(caller);
    let scope = trace.map(|trace| TraceScope::of(trace, request.headers()));
    let mut call = ObservedCall {
        method: calls.method(path),
        started,
        calls: calls.clone(),
        span,
        attempt: attempt(&request),
        client: context.client,
        instance: context.instance,
        ended: false,
        _permit: context.permit,
        log: context.log,
        head: context.head,
        cause: context.cause,
        answers: context.answers,
        client_left: false,
        response_bytes: None,
        _task: counts_for_drain(path).then(|| active.begin()),
    };
    let answer = next(request);
    let answer = match scope.clone() {
        Some(scope) => scope.run(answer).await,
        None => answer.await,
    };
    let (parts, body) = answer.into_parts();
    if let Some(code) = grpc_status(&parts.headers) {
        call.end(code);
        return Response::from_parts(parts, body);
    }
    Response::from_parts(parts, Body::new(ObservedBody { body, call, scope }))
}

/// Whether a drain waits for calls of this path: not for health and reflection, which may stay open
/// for ever.
pub(crate) fn counts_for_drain(path: &str) -> bool {
    !["/grpc.health.", "/grpc.reflection."]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Which attempt of its call it is, from 1, as the mesh counts them.
fn attempt<B>(request: &Request<B>) -> i64 {
    let previous = request.headers().get(channel::PREVIOUS_ATTEMPTS);
    let previous = previous.and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    i64::from(previous.unwrap_or(0)) + 1
}

/// One call until its status is known. Dropped without one, it was cancelled.
struct ObservedCall {
    method: rpc::Method,
    started: Instant,
    calls: ServerCalls,
    span: Option<Span>,
    attempt: i64,
    client: Option<IpAddr>,
    instance: Arc<context::Context>,
    ended: bool,
    _permit: Option<CallPermit>,
    log: Option<CallLog>,
    head: Option<Box<CallHead>>,
    cause: CauseSlot,
    answers: Option<MeshCause>,
    client_left: bool,
    response_bytes: Option<u64>,
    _task: Option<TaskGuard>,
}

impl ObservedCall {
    fn end(&mut self, code: i32) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let duration = self.started.elapsed();
        let sampled = self.span.map(|span| span.context()).filter(|it| it.sampled);
        self.calls.observe(&self.method, code, duration, sampled);
        let cause = match self.client_left {
            true if self.instance.cut.is_cancelled() => Some(MeshCause::Draining),
            true => Some(MeshCause::ClientLeft),
            false => self.cause.get().or(self.answers),
        };
        if let Some(log) = self.log.as_ref().filter(|log| log.is_on()) {
            let call = FinishedCall {
                method: self.method.name(),
                status: code,
                cause,
                duration,
                response_bytes: self.response_bytes,
                trace: self.span.map(|span| span.context().trace_id),
                ..FinishedCall::default()
            };
            log.end(self.head.as_deref(), &call);
        }
        self.end_span(code, cause);
    }

    fn end_span(&self, code: i32, cause: Option<MeshCause>) {
        let Some(span) = self.span else { return };
        let (method, failed) = (self.method.name(), rpc::is_server_error(code));
        let end = SpanEnd {
            name: method,
            kind: SpanKind::Server,
            failed,
            at: Instant::now(),
        };
        span.end(end, |fields| {
            fields.text("rpc.system.name", "grpc");
            fields.text("rpc.method", method);
            fields.text("rpc.response.status_code", rpc::code_name(code));
            if failed {
                fields.text("error.type", rpc::code_name(code));
            }
            if let Some(client) = self.client {
                fields.text("client.address", &client.to_string());
            }
            if let Some(cause) = cause {
                fields.text("mesh.cause", &cause.to_string());
            }
            fields.text("mesh.service", self.instance.spec.service);
            fields.text("mesh.instance", &self.instance.instance_id);
            fields.number("mesh.attempt", self.attempt);
        });
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        self.client_left = !self.ended;
        self.end(Code::Cancelled.into());
    }
}

struct ObservedBody {
    body: Body,
    call: ObservedCall,
    /// In which the answer goes on.
    scope: Option<TraceScope>,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let scope = self.scope.clone();
        let body = Pin::new(&mut self.body);
        let polled = match scope {
            Some(scope) => scope.run_sync(|| body.poll_frame(cx)),
            None => body.poll_frame(cx),
        };
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    *self.call.response_bytes.get_or_insert(0) += length;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.call
                        .end(grpc_status(trailers).unwrap_or(Code::Unknown.into()));
                }
            }
            Some(Err(status)) => self.call.end(status.code().into()),
            None => self.call.end(Code::Unknown.into()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        // A body without trailers may be dropped before its last frame is polled.
        if self.body.is_end_stream() {
            self.call.end(Code::Unknown.into());
        }
    }
}
