//! HTTP/2 streams whose client does not read the answer. Only that stream is reset: others of the
//! connection may still be read.

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
    /// Of the stream whose task this is: odd while data waits for the client to read it. It changes
    /// with each wait.
    static PENDING: Arc<AtomicU64>;
}

/// Data of an answer is ready and waits for the client.
pub(crate) fn mark_pending() {
    update(|count| count + 1 + count % 2);
}

/// All data so far is sent: the client waits for more.
pub(crate) fn mark_flushed() {
    update(|count| count + count % 2);
}

/// Outside of a stream's task it is not tracked.
fn update(next: impl FnOnce(u64) -> u64) {
    PENDING
        .try_with(|count| count.store(next(count.load(Relaxed)), Relaxed))
        .ok();
}

/// Runs the tasks of connections and of their streams.
#[derive(Clone, Debug)]
pub(crate) struct StreamExecutor {
    pub(crate) tasks: TaskTracker,
    /// How long data may wait for the client; zero is no limit.
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
    /// The value it waits with, and its timer.
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
        // Dropping the future resets the stream.
        tracing::debug!("a stream was reset: its client has not read for body_timeout");
        Poll::Ready(())
    }
}
