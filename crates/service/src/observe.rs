//! What every served call leaves behind: a span when traces are exported, and its rate, error and
//! duration. A call ends with its status, which stands in the trailers, so the body is watched.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use telemetry::{propagation, rpc, rpc::ServerCalls};
use tonic::{Code, Status, body::Body};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    Active, Task,
    access::{Outcome, Record},
    clients::Permit,
};

/// What is known of a call before it is answered, kept to its end.
pub(crate) struct Seen {
    pub(crate) permit: Option<Permit>,
    pub(crate) record: Option<Record>,
}

/// Runs `next` for one request and watches its answer to the end.
pub(crate) async fn observe<B, F>(
    request: Request<B>,
    calls: &ServerCalls,
    active: &Active,
    seen: Seen,
    next: impl FnOnce(Request<B>) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let path = request.uri().path();
    let mut call = Call {
        method: calls.method(path),
        started: Instant::now(),
        calls: calls.clone(),
        span: span(&request),
        ended: false,
        _permit: seen.permit,
        record: seen.record,
        outcome: Outcome::default(),
        _task: counts(path).then(|| active.begin()),
    };
    let span = call.span.clone();
    let (mut parts, body) = next(request).instrument(span).await.into_parts();
    if let Some(outcome) = parts.extensions.remove::<Outcome>() {
        call.outcome = outcome;
    }
    if let Some(code) = status(&parts.headers) {
        call.end(code);
        return Response::from_parts(parts, body);
    }
    Response::from_parts(parts, Body::new(Observed { body, call }))
}

/// A call of one of these may stay open for as long as its client likes: a drain does not wait.
pub(crate) fn counts(path: &str) -> bool {
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

fn status(headers: &HeaderMap) -> Option<i32> {
    headers
        .get(Status::GRPC_STATUS)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// One call until its status is known; without one it was cancelled.
struct Call {
    method: rpc::Method,
    started: Instant,
    calls: ServerCalls,
    span: Span,
    ended: bool,
    _permit: Option<Permit>,
    record: Option<Record>,
    /// What whoever answered the call says of it.
    outcome: Outcome,
    _task: Option<Task>,
}

impl Call {
    fn end(&mut self, code: i32) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.calls
            .observe(&self.method, code, self.started.elapsed());
        if let Some(record) = self.record.take() {
            record.end(code, &self.outcome);
        }
        if !self.span.is_disabled() {
            self.span
                .record("rpc.response.status_code", rpc::code_name(code));
            // What the caller did wrong is no error of this server: OpenTelemetry's list.
            if [2, 4, 12, 13, 14, 15].contains(&code) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled.into());
    }
}

struct Observed {
    body: Body,
    call: Call,
}

impl http_body::Body for Observed {
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
                    *self.call.outcome.response_bytes.get_or_insert(0) += length;
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.call
                        .end(status(trailers).unwrap_or(Code::Unknown.into()));
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

impl Drop for Observed {
    fn drop(&mut self) {
        // An answer without trailers may end without being asked for its last frame.
        if self.body.is_end_stream() {
            self.call.end(Code::Unknown.into());
        }
    }
}
