//! The body of an answer, watched to its end: the call counts as in flight until then, its status
//! goes to the statistics, and an end without a status becomes one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};
use tracing::Span;

use crate::{
    Error,
    call::Deadline,
    connection::Failure,
    fleet::{Fleet, Flight},
    replay::Replay,
};

/// A call in flight, from the sending of its request to the end of its answer.
pub(crate) struct Watch {
    fleet: Arc<Fleet>,
    flight: Flight,
    replay: Replay,
    sent: Instant,
}

impl Watch {
    pub(crate) fn new(fleet: Arc<Fleet>, flight: Flight, replay: Replay, sent: Instant) -> Self {
        Self {
            fleet,
            flight,
            replay,
            sent,
        }
    }

    /// The answer begins: for the balancer, this is its latency. Servers send the headers of a
    /// unary answer with its message.
    pub(crate) fn headers(&self, headers: &HeaderMap) {
        self.flight.endpoint.hear();
        let failed = status_code(headers) == Some(Code::Unavailable as i32);
        self.observe(failed);
    }

    /// The attempt ended without an answer.
    pub(crate) fn failed(&self, unsent: bool) {
        // What was not taken says nothing about how well the instance works.
        if !unsent {
            self.observe(true);
        }
    }

    fn observe(&self, failed: bool) {
        self.fleet
            .observe(&self.flight.endpoint, self.sent.elapsed(), failed);
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
        Self {
            inner: Some(inner),
            watch: (!ended).then_some(watch),
            deadline: deadline
                .filter(|_| !ended)
                .map(|d| (d, Box::pin(sleep_until(d.at)))),
            span: Span::none(),
        }
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
    fn failure(&self, error: hyper::Error) -> Status {
        let Some(watch) = &self.watch else {
            return Status::internal("an answer failed after its end");
        };
        if let Some(status) = watch.replay.error() {
            return status;
        }
        let failure = Failure::midway(error);
        if failure.code == Code::Unavailable {
            watch.observe(true);
        }
        let instance = watch.flight.endpoint.id().to_string();
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
        if let Some((deadline, sleep)) = &mut this.deadline {
            if sleep.as_mut().poll(cx).is_ready() {
                let status = Error::Deadline(deadline.given).status();
                return this.end_with(&status);
            }
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        match std::task::ready!(Pin::new(inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(watch) = &this.watch {
                    watch.flight.endpoint.hear();
                }
                if frame.is_trailers() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let status = this.failure(error);
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
