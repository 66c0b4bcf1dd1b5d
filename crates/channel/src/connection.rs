//! One HTTP/2 connection to one instance, and the count of calls on it.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::{
    Reason,
    client::{Builder, SendRequest},
};
use http::{Request, Response};
use tokio::{
    net::TcpStream,
    sync::{oneshot, watch},
};
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::{
    incoming::Incoming,
    replay::AttemptBody,
    sniff::{Sniffer, protocol_mismatch},
    upload::Upload,
};

/// Receive windows of a stream and of a connection. They are large, so that a slow reader does not
/// hold up other streams, and a 4 MiB message needs few round trips.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// An open connection. It closes when the last handle is gone and its calls are over.
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    in_flight: AtomicUsize,
    closed: AtomicBool,
    tracker: TaskTracker,
}

/// The right to open a stream on a connection, given back when dropped.
pub(crate) struct StreamPermit {
    connection: Arc<Connection>,
    sender: SendRequest<Bytes>,
}

impl Connection {
    /// Speaks HTTP/2 on an open stream until `aborted` changes, and waits for the peer's SETTINGS.
    /// They say how many streams it takes, and show that it does not hang.
    pub(crate) async fn handshake(
        stream: TcpStream,
        tracker: &TaskTracker,
        mut aborted: watch::Receiver<()>,
    ) -> io::Result<Arc<Self>> {
        let (stream, first) = Sniffer::new(stream);
        // No limit of metadata is announced: h2 would close the connection for a list several times
        // over it, and servers would end the call with errors of their own. The reader of the
        // answer checks the limit.
        let (sender, mut connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .enable_push(false)
            // Each cancelled call is a reset by us. With h2's default limit they would close the
            // connection of other calls.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(1024)
            // None until SETTINGS come.
            .initial_max_send_streams(0)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        let (ready, settings) = oneshot::channel();
        let mut ready = Some(ready);
        tracker.spawn(async move {
            let drive = poll_fn(|cx| {
                let done = Pin::new(&mut connection).poll(cx);
                if ready.is_some() && connection.max_concurrent_send_streams() > 0 {
                    // The receiver is gone when connecting was given up.
                    ready.take().map(|ready| ready.send(()).ok());
                }
                done
            });
            let aborted = async {
                if aborted.changed().await.is_err() {
                    // The sender is gone: nobody can abort it.
                    std::future::pending().await
                }
            };
            tokio::select! {
                outcome = drive => {
                    if let Err(error) = outcome {
                        tracing::debug!(%error, "connection ended");
                    }
                }
                // Its calls fail as if it had broken.
                () = aborted => tracing::debug!("connection given up"),
            }
        });
        settings.await.map_err(|_| {
            let mismatch = first.get().and_then(|first| protocol_mismatch(first));
            io::Error::other(mismatch.unwrap_or("it closed the connection before its SETTINGS"))
        })?;
        Ok(Arc::new(Self {
            sender,
            in_flight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            tracker: tracker.clone(),
        }))
    }

    /// A permit for one more call; `None` when the connection is closing or full. Beyond the peer's
    /// limit h2 would queue the call silently.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<StreamPermit> {
        let mut sender = self.sender.clone();
        // A handle without a stream is ready at once, unless the connection is broken or the peer
        // sent GOAWAY.
        let mut cx = Context::from_waker(Waker::noop());
        if !matches!(sender.poll_ready(&mut cx), Poll::Ready(Ok(()))) {
            self.closed.store(true, Ordering::Relaxed);
            return None;
        }
        let limit = sender.current_max_send_streams();
        let less = |calls: usize| (calls < limit).then_some(calls + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok()?;
        Some(StreamPermit {
            connection: Arc::clone(self),
            sender,
        })
    }

    /// Whether [`Self::reserve`] has found that it takes no more calls.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl StreamPermit {
    /// Sends a request and waits for the headers of its answer. When this or the answer is dropped
    /// and the call is over, the stream is reset with CANCEL.
    pub(crate) async fn send(
        &self,
        request: Request<AttemptBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let (parts, body) = request.into_parts();
        let ends = http_body::Body::is_end_stream(&body);
        let (response, stream) = self
            .sender
            .clone()
            .send_request(Request::from_parts(parts, ()), ends)
            .map_err(|error| Failure {
                unsent: true,
                ..Failure::of(&error)
            })?;
        if !ends {
            let mut upload = Upload::new(stream, body);
            // Most requests are one message that is already there: they need no task.
            if (&mut upload).now_or_never().is_none() {
                self.connection.tracker.spawn(upload);
            }
        }
        match response.await {
            Ok(mut response) => {
                proto::details::remove_invalid(response.headers_mut());
                Ok(response.map(Incoming::new))
            }
            Err(error) => Err(Failure::of(&error)),
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a connection failed a call.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The instance has not seen the call, or says that it did not process it.
    pub(crate) unsent: bool,
    /// The instance reset this call.
    pub(crate) reset: bool,
    /// gRPC's code for the HTTP/2 error.
    pub(crate) code: Code,
    /// The connection's error.
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn of(error: &h2::Error) -> Self {
        let reset = error.is_reset() && error.is_remote();
        let refused = reset && error.reason() == Some(Reason::REFUSED_STREAM);
        // h2 fails a stream with GOAWAY only if its id is above the last processed one.
        let unprocessed = error.is_go_away() && error.is_remote();
        Self {
            unsent: refused || unprocessed,
            reset,
            code: code(error),
            reason: error.to_string(),
        }
    }
}

/// gRPC's mapping of HTTP/2 error codes to status codes.
fn code(error: &h2::Error) -> Code {
    if error.is_io() || error.is_go_away() {
        return Code::Unavailable;
    }
    match error.reason() {
        None | Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(_) => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// The error for a peer that sends only this.
    async fn refused(words: &'static [u8], reset: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let tracker = TaskTracker::new();
        let says = tracker.spawn(async move {
            peer.read_u8().await.unwrap();
            peer.write_all(words).await.unwrap();
            if !reset {
                peer.shutdown().await.unwrap();
                peer.read_to_end(&mut Vec::new()).await.unwrap();
            }
        });
        let (_abort, aborted) = watch::channel(());
        let outcome = Connection::handshake(stream, &tracker, aborted).await;
        says.await.unwrap();
        outcome.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_peer_that_does_not_speak_http2_is_told_by_what_it_speaks() {
        for reset in [false, true] {
            for (words, why) in [
                (
                    &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                    "it speaks HTTP/1.1",
                ),
                (&[0x15, 3, 1, 0, 2, 2, 70], "it speaks TLS"),
                (b"220 mail ESMTP\r\n", "it does not speak HTTP/2"),
                (b"", "it closed the connection"),
            ] {
                let error = refused(words, reset).await;
                assert!(error.contains(why), "{words:?}, {reset}: {error}");
            }
        }
    }
}
