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
    static UNREAD: Arc<AtomicU64>;
}

/// An answer, or a part of one, is there and waits for the client.
pub(crate) fn waits() {
    note(|count| count + 1 + count % 2);
}

/// What there was of the answer has gone out: now it is the client who waits.
pub(crate) fn gone_out() {
    note(|count| count + count % 2);
}

/// Outside of a stream's task nobody asks.
fn note(next: impl FnOnce(u64) -> u64) {
    UNREAD
        .try_with(|count| count.store(next(count.load(Relaxed)), Relaxed))
        .ok();
}

/// Owns the tasks of connections and of their streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    pub(crate) tasks: TaskTracker,
    /// How long an answer may wait for its client; zero is for ever.
    pub(crate) patience: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let unread = Arc::new(AtomicU64::new(0));
        self.tasks.spawn(Stream {
            future: Box::pin(UNREAD.scope(Arc::clone(&unread), future)),
            unread,
            patience: self.patience,
            waits: None,
        });
    }
}

struct Stream<F: Future> {
    future: Pin<Box<TaskLocalFuture<Arc<AtomicU64>, F>>>,
    unread: Arc<AtomicU64>,
    patience: Duration,
    /// What it waits with, and until when.
    waits: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let (now, patience) = (self.unread.load(Relaxed), self.patience);
        if now % 2 == 0 || patience.is_zero() {
            self.waits = None;
            return Poll::Pending;
        }
        if self.waits.as_ref().is_none_or(|(since, _)| *since != now) {
            self.waits = Some((now, Box::pin(sleep(patience))));
        }
        if let Some((_, timer)) = &mut self.waits {
            ready!(timer.as_mut().poll(cx));
        }
        // Dropped, the stream is reset.
        tracing::debug!("body_timeout: a stream is not read");
        Poll::Ready(())
    }
}
