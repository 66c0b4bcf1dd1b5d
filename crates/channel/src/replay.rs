//! A request body that can be sent again. What was read is kept, up to a limit, so that a call can
//! be sent to another instance.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use parking_lot::Mutex;
use tonic::Status;

/// The source of all attempts' bodies.
#[derive(Clone)]
pub(crate) struct Replay(Arc<Mutex<Source>>);

/// The body of one attempt. It is over when a later attempt begins, or the call ends.
pub(crate) struct AttemptBody {
    source: Arc<Mutex<Source>>,
    number: usize,
}

struct Source {
    body: tonic::body::Body,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// How many of `kept` the current attempt has read.
    next: usize,
    limit: usize,
    /// Whether `kept` has everything that was read.
    complete: bool,
    /// The attempt that may read; 0 once the call is over.
    current: usize,
    ended: bool,
    error: Option<Status>,
    /// Wakes the sender of the current attempt.
    waker: Option<Waker>,
}

impl Replay {
    pub(crate) fn new(body: tonic::body::Body, limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Source {
            body,
            kept: Vec::new(),
            kept_bytes: 0,
            next: 0,
            limit,
            complete: true,
            current: 0,
            ended: false,
            error: None,
            waker: None,
        })))
    }

    /// The body for attempt `number`, from 1.
    pub(crate) fn attempt(&self, number: usize) -> AttemptBody {
        let mut source = self.0.lock();
        source.current = number;
        source.next = 0;
        source.wake();
        AttemptBody {
            source: Arc::clone(&self.0),
            number,
        }
    }

    /// Whether another attempt would send the same bytes.
    pub(crate) fn can_repeat(&self) -> bool {
        let source = self.0.lock();
        source.complete && source.error.is_none()
    }

    /// There is no further attempt: nothing more is kept.
    pub(crate) fn commit(&self) {
        let mut source = self.0.lock();
        source.limit = 0;
        source.complete = false;
        source.forget();
    }

    /// The call is over: its body is sent no further.
    pub(crate) fn abort(&self) {
        let mut source = self.0.lock();
        source.current = 0;
        source.wake();
    }

    /// Why reading the request failed, if it did.
    pub(crate) fn error(&self) -> Option<Status> {
        self.0.lock().error.clone()
    }
}

impl Source {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn keep(&mut self, data: &Bytes) {
        if self.complete && self.kept_bytes + data.len() <= self.limit {
            self.kept_bytes += data.len();
            self.kept.push(data.clone());
            self.next += 1;
        } else {
            self.complete = false;
            self.forget();
        }
    }

    /// Frees what was read.
    fn forget(&mut self) {
        self.kept.drain(..self.next);
        self.next = 0;
    }
}

impl AttemptBody {
    /// Whether it is over. `cx` is woken when it becomes so.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut source = self.source.lock();
        if source.current != self.number {
            return true;
        }
        match &mut source.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        false
    }
}

impl Body for AttemptBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut source = self.source.lock();
        if source.current != self.number {
            return Poll::Ready(Some(Err(Status::cancelled("the call is over"))));
        }
        if let Some(data) = source.kept.get(source.next).cloned() {
            source.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if source.ended {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut source.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => source.keep(data),
                // gRPC requests have no trailers: they are not sent twice.
                None => source.complete = false,
            },
            Some(Err(status)) => source.error = Some(status.clone()),
            None => source.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.lock();
        source.next >= source.kept.len() && (source.ended || source.body.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    async fn read(body: AttemptBody) -> Result<Bytes, Status> {
        body.collect()
            .await
            .map(http_body_util::Collected::to_bytes)
    }

    fn replay(text: &'static str, limit: usize) -> Replay {
        Replay::new(tonic::body::Body::new(Full::new(Bytes::from(text))), limit)
    }

    #[tokio::test]
    async fn a_second_attempt_sends_the_same_bytes() {
        let replay = replay("hello", 100);
        assert_eq!(read(replay.attempt(1)).await.unwrap(), "hello");
        assert!(replay.can_repeat());
        assert_eq!(read(replay.attempt(2)).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn what_is_larger_than_the_buffer_is_sent_once() {
        let replay = replay("hello", 4);
        assert_eq!(read(replay.attempt(1)).await.unwrap(), "hello");
        assert!(!replay.can_repeat());
    }

    #[tokio::test]
    async fn what_was_committed_is_sent_to_its_end_and_not_kept() {
        let replay = replay("hello", 100);
        assert_eq!(read(replay.attempt(1)).await.unwrap(), "hello");
        let second = replay.attempt(2);
        replay.commit();
        assert_eq!(read(second).await.unwrap(), "hello");
        assert!(!replay.can_repeat());
    }

    #[tokio::test]
    async fn an_earlier_attempt_stops_when_a_later_one_begins() {
        let replay = replay("hello", 100);
        let first = replay.attempt(1);
        let second = replay.attempt(2);
        assert!(read(first).await.is_err());
        assert_eq!(read(second).await.unwrap(), "hello");
    }
}
