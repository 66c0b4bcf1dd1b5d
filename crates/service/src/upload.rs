//! The body of a request to an HTTP program, which may not be silent for ever.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

/// A client has begun to send a body and fell silent: 408 is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body did not go on for {0:?} (body_timeout)")]
pub struct Silent(pub Duration);

/// A request's body. It fails with [`Silent`] when it does not go on for `body_timeout` while it is
/// waited for.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    limit: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Upload {
    pub(crate) const fn new(body: Incoming, limit: Duration) -> Self {
        Self {
            body,
            limit,
            silence: None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.limit.is_zero() {
            return Poll::Pending;
        }
        let limit = self.limit;
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Some(Err(Silent(limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
