//! Streams of HTTP/2 whose client does not read what it has asked for. Other streams of the same
//! connection may well be read, so that it is the stream that ends.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::futures::TaskLocalFuture,
    time::{Sleep, sleep},
};
use tokio_util::task::TaskTracker;

tokio::task_local! {
    /// Of the stream whose task this is: odd while it waits for its client to read, and another
    /// number each time that it does.
    static PENDING: Arc<AtomicU64>;
}

/// An answer, or a part of one, is there and waits for the client.
pub(crate) fn mark_pending() {
    update(|count| count + 1 + count % 2);
}

/// What there was of the answer has gone out: now it is the client who waits.
pub(crate) fn mark_flushed() {
    update(|count| count + count % 2);
}

/// Outside of a stream's task nobody asks.
fn update(next: impl FnOnce(u64) -> u64) {
    PENDING
        .try_with(|count| count.store(next(count.load(Relaxed)), Relaxed))
        .ok();
}

/// Owns the tasks of connections and of their streams.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor {
    pub(crate) tasks: TaskTracker,
    /// How long an answer may wait for its client; zero is for ever.
    pub(crate) timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let pending = Arc::new(AtomicU64::new(0));
        self.tasks.spawn(StreamTask {
            future: Box::pin(PENDING.scope(Arc::clone(&pending), future)),
            pending,
            timeout: self.timeout,
            waiting: None,
        });
    }
}

struct StreamTask<F: Future> {
    future: Pin<Box<TaskLocalFuture<Arc<AtomicU64>, F>>>,
    pending: Arc<AtomicU64>,
    timeout: Duration,
    /// What it waits with, and until when.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let (now, timeout) = (self.pending.load(Relaxed), self.timeout);
        if now % 2 == 0 || timeout.is_zero() {
            self.waiting = None;
            return Poll::Pending;
        }
        if self.waiting.as_ref().is_none_or(|(since, _)| *since != now) {
            self.waiting = Some((now, Box::pin(sleep(timeout))));
        }
        if let Some((_, timer)) = &mut self.waiting {
            ready!(timer.as_mut().poll(cx));
        }
        // Dropped, the stream is reset.
        tracing::debug!("body_timeout: a stream is not read");
        Poll::Ready(())
    }
}
