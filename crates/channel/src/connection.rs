//! One HTTP/2 connection to one instance, and the count of calls on it.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::replay::Attempt;

/// Receive window of a stream and of a connection: large, so that one slow reader's stream does not
/// hold up its neighbours, and a 4 MiB message needs few round trips.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Attempt>,
    in_flight: AtomicUsize,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS. hyper queues silently past it, so it is kept here.
    max_streams: Arc<AtomicUsize>,
    close: CancellationToken,
}

/// A stream's place on a connection, given back when dropped.
pub(crate) struct Slot(Arc<Connection>);

impl Connection {
    /// Speaks HTTP/2 on an open stream. The tasks that carry it end with the connection: when the
    /// peer closes it, or when the last handle is gone and its calls are over.
    pub(crate) async fn handshake(
        stream: TcpStream,
        tracker: &TaskTracker,
    ) -> hyper::Result<Arc<Self>> {
        let (sender, mut connection) = Builder::new(Tracked(tracker.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            // Every cancelled call is a reset of ours: with hyper's default of 1024 (and h2's of
            // fewer) a connection would be closed under the calls that go on.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(1024)
            .handshake(TokioIo::new(stream))
            .await?;
        let max_streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let close = CancellationToken::new();
        let (limit, closed) = (Arc::clone(&max_streams), close.clone());
        tracker.spawn(async move {
            let drive = poll_fn(|cx| {
                let done = Pin::new(&mut connection).poll(cx);
                limit.store(connection.current_max_send_streams(), Ordering::Relaxed);
                match done {
                    Poll::Ready(result) => Poll::Ready(result),
                    Poll::Pending => Poll::Pending,
                }
            });
            tokio::select! {
                result = drive => if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                },
                () = closed.cancelled() => {}
            }
        });
        Ok(Arc::new(Self {
            sender,
            in_flight: AtomicUsize::new(0),
            max_streams,
            close,
        }))
    }

    /// Takes a place for one more call; `None` when the connection is closing or full.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Slot> {
        if self.is_closed() {
            return None;
        }
        let limit = self.max_streams.load(Ordering::Relaxed);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            })
            .ok()
            .map(|_| Slot(Arc::clone(self)))
    }

    /// Whether it takes no more calls: closed, or told to go away.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

impl Slot {
    /// Sends a request on the connection.
    pub(crate) fn send(
        &self,
        request: http::Request<Attempt>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, Failure>> + use<> {
        let response = self.0.sender.clone().try_send_request(request);
        async move {
            response.await.map_err(|mut error| {
                // hyper hands the message back when not a byte of it was written.
                let unsent = error.take_message().is_some();
                Failure::new(error.into_error(), unsent)
            })
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a connection failed a call.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The instance has certainly not seen the call, or has said that it did not process it.
    pub(crate) unsent: bool,
    /// gRPC's code for the HTTP/2 error.
    pub(crate) code: tonic::Code,
    /// What the connection said.
    pub(crate) reason: String,
}

impl Failure {
    fn new(error: hyper::Error, unsent: bool) -> Self {
        let h2 = source::<h2::Error>(&error);
        let refused = h2.is_some_and(|e| {
            e.is_reset() && e.is_remote() && e.reason() == Some(h2::Reason::REFUSED_STREAM)
        });
        // h2 gives a stream the peer's GOAWAY only when its id is past the last one processed.
        let unprocessed = h2.is_some_and(|e| e.is_go_away() && e.is_remote());
        let code = h2.map_or(tonic::Code::Unavailable, code);
        Self {
            unsent: unsent || refused || unprocessed,
            code,
            reason: chain(&error),
        }
    }

    /// A failure while the answer was being read.
    pub(crate) fn midway(error: hyper::Error) -> Self {
        Self::new(error, false)
    }
}

/// gRPC's mapping of HTTP/2 error codes to status codes.
fn code(error: &h2::Error) -> tonic::Code {
    use h2::Reason;
    if error.is_io() || error.is_go_away() {
        return tonic::Code::Unavailable;
    }
    match error.reason() {
        Some(Reason::REFUSED_STREAM) => tonic::Code::Unavailable,
        Some(Reason::CANCEL) => tonic::Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => tonic::Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => tonic::Code::PermissionDenied,
        Some(_) => tonic::Code::Internal,
        None => tonic::Code::Unavailable,
    }
}

fn source<'a, E: std::error::Error + 'static>(error: &'a hyper::Error) -> Option<&'a E> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(found) = inner.downcast_ref::<E>() {
            return Some(found);
        }
        cause = inner.source();
    }
    None
}

/// An error with its causes, which hyper's `Display` leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
