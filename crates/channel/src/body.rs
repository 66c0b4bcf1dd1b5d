//! The body of an answer, watched to its end: the call counts as in flight until then, its status
//! goes to the statistics, and a connection that fails midway becomes a status.

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
    acquire::Flight,
    call::Deadline,
    connection::Failure,
    endpoint::Endpoint,
    fleet::Fleet,
    http_answer,
    incoming::Incoming,
    replay::{Attempt, Replay},
};

/// A call in flight, from the sending of its request to the end of its answer.
pub(crate) struct Watch {
    fleet: Arc<Fleet>,
    flight: Flight,
    replay: Replay,
    sent: Instant,
}

impl Watch {
    pub(crate) fn new(fleet: Arc<Fleet>, flight: Flight, replay: Replay) -> Self {
        Self {
            fleet,
            flight,
            replay,
            sent: Instant::now(),
        }
    }

    pub(crate) fn send(
        &self,
        request: Request<Attempt>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> {
        self.flight.slot.send(request)
    }

    /// The answer begins: for the balancer, this is its latency. Servers send the headers of a
    /// unary answer with its message.
    pub(crate) fn answered(&self, headers: &HeaderMap) {
        self.endpoint().hear();
        let status = status_code(headers);
        let failed = status == Some(Code::Unavailable as i32);
        self.endpoint().observe(self.sent.elapsed(), failed);
        if status.is_some() {
            self.fleet.outcome(self.endpoint(), failed);
        }
    }

    /// Something came that says nothing of how well the instance works.
    pub(crate) fn heard(&self) {
        self.endpoint().hear();
    }

    /// The answer is HTTP's alone, with this status.
    pub(crate) fn answered_by_http(&self, status: u16) {
        self.heard();
        if http_answer::is_failure(status) {
            self.failed();
        }
    }

    /// What is said of an answer with too much metadata.
    pub(crate) fn large_answer(&self) -> Error {
        Error::LargeAnswer {
            instance: self.endpoint().id().to_string(),
            limit: self.fleet.options.load().max_header_bytes,
        }
    }

    /// The attempt ended without an answer, or in the middle of it.
    pub(crate) fn failed(&self) {
        self.endpoint().observe(self.sent.elapsed(), true);
        self.fleet.outcome(self.endpoint(), true);
    }

    /// Its caller would wait no longer, or has an answer from elsewhere. That is no failure, but
    /// may be latency.
    pub(crate) fn given_up(&self) {
        self.endpoint()
            .give_up(self.sent.elapsed(), self.fleet.shared().now());
    }

    fn trailers(&self, trailers: &HeaderMap) {
        self.fleet.report(self.endpoint(), |name| {
            trailers.get(name).map(http::HeaderValue::as_bytes)
        });
        if status_code(trailers) == Some(Code::Unavailable as i32) {
            self.failed();
        } else {
            self.fleet.outcome(self.endpoint(), false);
        }
    }

    fn endpoint(&self) -> &Endpoint {
        self.flight.endpoint()
    }
}

/// The `grpc-status` among headers or trailers.
pub(crate) fn status_code(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The body of an answer of [`crate::Mesh::call`].
pub struct ResponseBody {
    inner: Option<Incoming>,
    /// Until the answer has ended.
    watch: Option<Watch>,
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    span: Span,
}

impl ResponseBody {
    pub(crate) fn new(inner: Incoming, watch: Watch, deadline: Option<Deadline>) -> Self {
        let ended = inner.is_end_stream();
        let mut body = Self {
            inner: Some(inner),
            watch: Some(watch),
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
    pub(crate) fn within(mut self, span: Span) -> Self {
        if self.watch.is_some() {
            self.span = span;
        }
        self
    }

    fn end(&mut self) {
        self.inner = None;
        self.deadline = None;
        self.span = Span::none();
        if let Some(watch) = self.watch.take() {
            watch.replay.abort();
        }
    }

    /// Ends the answer with a status of the mesh instead of the instance's.
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
        let Some(watch) = &self.watch else {
            return Status::internal("an answer failed after its end");
        };
        if let Some(status) = watch.replay.error() {
            return status;
        }
        let failure = Failure::of(error);
        if failure.code == Code::Unavailable {
            watch.failed();
        }
        let instance = watch.endpoint().id().to_string();
        Error::Broken {
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
                if let Some(watch) = &this.watch {
                    watch.endpoint().hear();
                    if let Some(trailers) = frame.trailers_ref() {
                        let limit = watch.fleet.options.load().max_header_bytes;
                        if http_answer::list_size(trailers) > limit {
                            let status = watch.large_answer().status();
                            return this.end_with(&status);
                        }
                        watch.trailers(trailers);
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
            .field("ended", &self.watch.is_none())
            .finish()
    }
}
