//! The body of an answer. The call counts as in flight until its end. Its status goes to the
//! statistics, and a connection that fails becomes a status.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use proto::MeshCause;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use crate::{
    CallAttempt, Error, Timestamp,
    acquire::InFlight,
    attempt_span::AttemptSpan,
    call_timer::CallTimer,
    connection::Failure,
    connections::Endpoint,
    deadline::Deadline,
    http_status,
    incoming::Incoming,
    replay::{AttemptBody, Replay},
};

/// A call in flight, from the sending of its request to the end of its answer.
pub(crate) struct ActiveCall {
    in_flight: InFlight,
    replay: Replay,
    span: Option<AttemptSpan>,
}

impl ActiveCall {
    pub(crate) fn new(mut in_flight: InFlight, replay: Replay, span: Option<AttemptSpan>) -> Self {
        let now = in_flight.attempt.now();
        in_flight.attempt.sent(now);
        Self {
            in_flight,
            replay,
            span,
        }
    }

    /// It ended with this status.
    pub(crate) fn ended(&self, status: Code, cause: Option<MeshCause>) {
        if let Some(span) = &self.span {
            span.end(status, cause);
        }
    }

    /// It ended with this error.
    pub(crate) fn failed(&self, error: &Error) {
        if self.span.is_some() {
            self.ended(error.status().code(), error.cause());
        }
    }

    pub(crate) fn send(
        &self,
        request: Request<AttemptBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> {
        self.in_flight.permit.send(request)
    }

    /// The attempt, and the time, to be told what becomes of it.
    pub(crate) fn attempt(&self) -> (&CallAttempt, Timestamp) {
        let attempt = &self.in_flight.attempt;
        (attempt, attempt.now())
    }

    fn endpoint(&self) -> &Endpoint {
        self.in_flight.attempt.endpoint()
    }

    fn max_header_bytes(&self) -> usize {
        self.in_flight.attempt.client().options().max_header_bytes
    }

    /// The error for an answer with too much metadata.
    pub(crate) fn large_answer(&self) -> Error {
        Error::LargeAnswer {
            instance: self.endpoint().id().to_string(),
            limit: self.max_header_bytes(),
        }
    }

    fn trailers(&self, trailers: &HeaderMap) {
        let (attempt, now) = self.attempt();
        attempt.trailers(|name| trailers.get(name).map(http::HeaderValue::as_bytes));
        let status = grpc_status(trailers).map_or(Code::Ok, Code::from);
        attempt.ended(status, now);
        self.ended(status, None);
    }
}

/// The `grpc-status` in headers or trailers.
#[must_use]
pub fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The body of an answer of [`crate::Mesh::call`].
pub struct ResponseBody {
    inner: Option<Incoming>,
    /// Until the answer has ended.
    active: Option<ActiveCall>,
    /// Its timer is made for the first frame that is waited for: most have come with the head.
    deadline: Option<(Deadline, Option<Pin<Box<Sleep>>>)>,
    /// Until the status is known.
    timer: Option<CallTimer>,
    cause: Option<MeshCause>,
}

impl ResponseBody {
    pub(crate) fn new(inner: Incoming, active: ActiveCall, deadline: Option<Deadline>) -> Self {
        let ended = inner.is_end_stream();
        let mut body = Self {
            inner: Some(inner),
            active: Some(active),
            deadline: deadline.map(|deadline| (deadline, None)),
            timer: None,
            cause: None,
        };
        if ended {
            // Trailers only: the instance is done with the call.
            body.is_over();
            body.end();
        }
        body
    }

    /// Nothing more comes.
    fn is_over(&self) {
        if let Some(span) = self.active.as_ref().and_then(|it| it.span.as_ref()) {
            span.over();
        }
    }

    /// Counts the call when its status is known: now if that is all of the answer.
    pub(crate) fn with_timer(mut self, mut timer: CallTimer, status: Option<i32>) -> Self {
        match status {
            Some(status) => timer.end(status),
            None => self.timer = Some(timer),
        }
        self
    }

    fn count(&mut self, status: Option<i32>) {
        if let Some(mut timer) = self.timer.take() {
            timer.end(status.unwrap_or(Code::Unknown.into()));
        }
    }

    /// Why the mesh ended the answer; `None` while it has not.
    #[must_use]
    pub fn cause(&self) -> Option<MeshCause> {
        self.cause
    }

    fn end(&mut self) {
        self.inner = None;
        self.deadline = None;
        if let Some(active) = self.active.take() {
            active.replay.abort();
        }
    }

    /// Ends the answer with a status of the mesh in place of the instance's.
    fn end_with(
        &mut self,
        status: &Status,
        cause: Option<MeshCause>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(active) = &self.active {
            active.ended(status.code(), cause);
        }
        self.count(Some(status.code().into()));
        self.end();
        self.cause = cause;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }

    /// The status for a connection that failed while the answer was being read.
    fn failure(&self, error: &h2::Error) -> (Status, Option<MeshCause>) {
        let Some(active) = &self.active else {
            let status = Status::internal("an answer failed after its end");
            return (status, Some(MeshCause::Reset));
        };
        if let Some(status) = active.replay.error() {
            let cause = MeshCause::of(&status);
            return (status, cause);
        }
        let failure = Failure::of(error);
        if failure.code == Code::Unavailable {
            let (attempt, now) = active.attempt();
            attempt.failed(now);
        }
        let instance = active.endpoint().id().to_string();
        let error = Error::ConnectionLost {
            instance,
            reason: failure.reason,
            code: failure.code,
        };
        (error.status(), error.cause())
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(inner).poll_frame(cx);
        if let Some((deadline, timer)) = &mut this.deadline {
            let at = deadline.at;
            let is_over = match &polled {
                Poll::Ready(_) => Instant::now() >= at,
                Poll::Pending => {
                    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                    timer.as_mut().poll(cx).is_ready()
                }
            };
            if is_over {
                let error = Error::Deadline(deadline.given);
                return this.end_with(&error.status(), error.cause());
            }
        }
        match std::task::ready!(polled) {
            Some(Ok(frame)) => {
                if let Some(active) = &this.active {
                    active.endpoint().mark_received();
                    if let Some(trailers) = frame.trailers_ref() {
                        if http_status::list_size(trailers) > active.max_header_bytes() {
                            let error = active.large_answer();
                            return this.end_with(&error.status(), error.cause());
                        }
                        active.trailers(trailers);
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    this.count(grpc_status(trailers));
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let (status, cause) = this.failure(&error);
                this.end_with(&status, cause)
            }
            None => {
                this.is_over();
                this.count(None);
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody")
            .field("ended", &self.active.is_none())
            .finish()
    }
}
