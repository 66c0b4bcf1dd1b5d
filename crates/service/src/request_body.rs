//! The body of a request to an HTTP program, with a timeout for pauses.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::idle_timer::IdleTimer;

/// The client paused within a body for too long: answer 408.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client paused for {0:?} within the body (body_timeout)")]
pub struct BodyTimeout(pub Duration);

/// A request's body. It fails with [`BodyTimeout`] when it is polled and nothing comes for
/// `body_timeout`.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    idle: IdleTimer,
}

impl RequestBody {
    pub(crate) const fn new(body: Incoming, limit: Duration) -> Self {
        Self {
            body,
            idle: IdleTimer::new(limit),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.idle.reset();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.idle.poll(cx));
        Poll::Ready(Some(Err(BodyTimeout(self.idle.limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
