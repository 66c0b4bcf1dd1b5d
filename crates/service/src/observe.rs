//! Observes every served call: a span if traces are exported, its metrics and its access log line.
//! The status is in the trailers, so the body is followed to its end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use channel::grpc_status;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use proto::MeshCause;
use telemetry::{propagation, rpc, rpc::ServerCalls};
use tonic::{Code, Status, body::Body};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    ActiveTasks, TaskGuard,
    call_log::{CallHead, CallLog, FinishedCall},
    cause_slot::CauseSlot,
    clients::CallPermit,
};

/// What is held for a call until its end.
pub(crate) struct CallContext {
    pub(crate) permit: Option<CallPermit>,
    /// Where its end is written down, and with what.
    pub(crate) log: Option<CallLog>,
    pub(crate) head: Option<Box<CallHead>>,
    /// Why the chassis, and not the service, ended it.
    pub(crate) cause: CauseSlot,
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
    let path = request.uri().path();
    let mut call = ObservedCall {
        method: calls.method(path),
        started: Instant::now(),
        calls: calls.clone(),
        span: span(&request),
        ended: false,
        _permit: context.permit,
        log: context.log,
        head: context.head,
        cause: context.cause,
        client_left: false,
        response_bytes: None,
        _task: counts_for_drain(path).then(|| active.begin()),
    };
    let span = call.span.clone();
    let (parts, body) = next(request).instrument(span).await.into_parts();
    if let Some(code) = grpc_status(&parts.headers) {
        call.end(code);
        return Response::from_parts(parts, body);
    }
    Response::from_parts(parts, Body::new(ObservedBody { body, call }))
}

/// Whether a drain waits for calls of this path: not for health and reflection, which may stay open
/// for ever.
pub(crate) fn counts_for_drain(path: &str) -> bool {
    !["/grpc.health.", "/grpc.reflection."]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

fn span<B>(request: &Request<B>) -> Span {
    if !telemetry::tracing_enabled() {
        return Span::none();
    }
    let method = request.uri().path().trim_start_matches('/');
    let span = tracing::info_span!(
        "rpc.server",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
    );
    propagation::set_parent(&span, request.headers());
    span
}

/// One call until its status is known. Dropped without one, it was cancelled.
struct ObservedCall {
    method: rpc::Method,
    started: Instant,
    calls: ServerCalls,
    span: Span,
    ended: bool,
    _permit: Option<CallPermit>,
    log: Option<CallLog>,
    head: Option<Box<CallHead>>,
    cause: CauseSlot,
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
        self.calls.observe(&self.method, code, duration, None);
        if let Some(log) = self.log.as_ref().filter(|log| log.is_on()) {
            let call = FinishedCall {
                method: self.method.name(),
                status: code,
                cause: match self.client_left {
                    true => Some(MeshCause::ClientLeft),
                    false => self.cause.get(),
                },
                duration,
                response_bytes: self.response_bytes,
                ..FinishedCall::default()
            };
            log.end(self.head.as_deref(), &call);
        }
        if !self.span.is_disabled() {
            self.span
                .record("rpc.response.status_code", rpc::code_name(code));
            if rpc::is_server_error(code) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
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
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
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
