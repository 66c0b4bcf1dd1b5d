//! The body of an answer. The call counts as in flight until its end. Its status goes to the
//! statistics, and a connection that fails becomes a status.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};
use tracing::Span;

use crate::{
    Error,
    acquire::InFlight,
    cluster_client::ClusterClient,
    connection::Failure,
    connections::Endpoint,
    deadline::Deadline,
    http_status,
    incoming::Incoming,
    replay::{AttemptBody, Replay},
};

/// A call in flight, from the sending of its request to the end of its answer.
pub(crate) struct ActiveCall {
    client: Arc<ClusterClient>,
    in_flight: InFlight,
    replay: Replay,
    sent: Instant,
}

impl ActiveCall {
    pub(crate) fn new(client: Arc<ClusterClient>, in_flight: InFlight, replay: Replay) -> Self {
        Self {
            client,
            in_flight,
            replay,
            sent: Instant::now(),
        }
    }

    pub(crate) fn send(
        &self,
        request: Request<AttemptBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> {
        self.in_flight.permit.send(request)
    }

    /// The answer begins, which ends its latency. Servers send the headers of a unary answer with
    /// its message.
    pub(crate) fn answered(&self, headers: &HeaderMap) {
        self.endpoint().mark_received();
        let status = grpc_status(headers);
        let failed = status == Some(Code::Unavailable as i32);
        self.observe(failed);
        if status.is_some() {
            self.client.cluster.record_outcome(self.endpoint(), failed);
        }
    }

    /// Something came that says nothing about the instance's health.
    pub(crate) fn received(&self) {
        self.endpoint().mark_received();
    }

    /// The answer is not gRPC's, with this HTTP status.
    pub(crate) fn answered_by_http(&self, status: u16) {
        self.received();
        if http_status::is_failure(status) {
            self.failed();
        }
    }

    /// The error for an answer with too much metadata.
    pub(crate) fn large_answer(&self) -> Error {
        Error::LargeAnswer {
            instance: self.endpoint().id().to_string(),
            limit: self.client.options().max_header_bytes,
        }
    }

    /// The attempt ended without an answer, or in the middle of it.
    pub(crate) fn failed(&self) {
        self.observe(true);
        self.client.cluster.record_outcome(self.endpoint(), true);
    }

    /// Its caller stopped waiting, or has an answer from another instance. That may be latency, but
    /// is no failure.
    pub(crate) fn given_up(&self) {
        self.endpoint()
            .give_up(self.sent.elapsed(), self.client.now());
    }

    fn observe(&self, failed: bool) {
        let now = self.client.now();
        self.endpoint().observe(self.sent.elapsed(), failed, now);
    }

    fn trailers(&self, trailers: &HeaderMap) {
        self.client.report(self.endpoint(), |name| {
            trailers.get(name).map(http::HeaderValue::as_bytes)
        });
        if grpc_status(trailers) == Some(Code::Unavailable as i32) {
            self.failed();
        } else {
            self.client.cluster.record_outcome(self.endpoint(), false);
        }
    }

    fn endpoint(&self) -> &Endpoint {
        self.in_flight.endpoint()
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
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    span: Span,
}

impl ResponseBody {
    pub(crate) fn new(inner: Incoming, active: ActiveCall, deadline: Option<Deadline>) -> Self {
        let ended = inner.is_end_stream();
        let mut body = Self {
            inner: Some(inner),
            active: Some(active),
            deadline: deadline.map(|d| (d, Box::pin(sleep_until(d.at)))),
            span: Span::none(),
        };
        if ended {
            // Trailers only: the instance is done with the call.
            body.end();
        }
        body
    }

    /// Keeps a span open until the answer has ended.
    pub(crate) fn with_span(mut self, span: Span) -> Self {
        if self.active.is_some() {
            self.span = span;
        }
        self
    }

    fn end(&mut self) {
        self.inner = None;
        self.deadline = None;
        self.span = Span::none();
        if let Some(active) = self.active.take() {
            active.replay.abort();
        }
    }

    /// Ends the answer with a status of the mesh in place of the instance's.
    fn end_with(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.end();
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }

    /// The status for a connection that failed while the answer was being read.
    fn failure(&self, error: &h2::Error) -> Status {
        let Some(active) = &self.active else {
            return Status::internal("an answer failed after its end");
        };
        if let Some(status) = active.replay.error() {
            return status;
        }
        let failure = Failure::of(error);
        if failure.code == Code::Unavailable {
            active.failed();
        }
        let instance = active.endpoint().id().to_string();
        Error::ConnectionLost {
            instance,
            reason: failure.reason,
            code: failure.code,
        }
        .status()
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
        if let Some((deadline, sleep)) = &mut this.deadline
            && sleep.as_mut().poll(cx).is_ready()
        {
            let status = Error::Deadline(deadline.given).status();
            return this.end_with(&status);
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        match std::task::ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(active) = &this.active {
                    active.endpoint().mark_received();
                    if let Some(trailers) = frame.trailers_ref() {
                        let limit = active.client.options().max_header_bytes;
                        if http_status::list_size(trailers) > limit {
                            let status = active.large_answer().status();
                            return this.end_with(&status);
                        }
                        active.trailers(trailers);
                    }
                }
                if frame.is_trailers() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let status = this.failure(&error);
                this.end_with(&status)
            }
            None => {
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
