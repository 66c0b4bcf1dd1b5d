//! The timeouts of a connection: handshake, head, body and keep-alive.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use mesh_relay::frame::ErrorCode;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::closing;
use crate::limits::ConnectionLimits;

/// The protocol of a connection, as far as known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// The progress of a connection, written by its stream and requests, read by its monitor. All of
/// them run in the connection's own task, so the lock is never contended.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) protocol: Protocol,
    /// When the connection was accepted.
    pub(super) began: Instant,
    /// When the last bytes came.
    pub(super) read: Instant,
    /// Open calls of HTTP/2, or the request of HTTP/1 in progress.
    pub(super) calls: usize,
    /// Since when there is none.
    pub(super) idle: Instant,
    /// Since when a head is incomplete.
    pub(super) head: Option<Instant>,
    /// HTTP/2: the client's SETTINGS have come.
    pub(super) settled: bool,
    /// HTTP/2: a frame is incomplete.
    pub(super) within: bool,
    /// The guard has sent GOAWAY: finish the calls in flight.
    pub(super) go_away: bool,
    /// The last message, to be sent when the stream is dropped.
    pub(super) farewell: Option<Vec<u8>>,
}

/// The progress that a connection shares with its monitor.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// What a connection has to do.
pub(super) enum Event {
    /// Finish the calls in flight.
    GoAway,
    /// It was idle for `keep_alive`: close gracefully, by this time at the latest.
    Idle(Option<Instant>),
    /// The time of this key is over: close.
    Stalled(&'static str),
}

/// Watches the timeouts of one connection.
pub(crate) struct ConnectionMonitor {
    pub(super) limits: ConnectionLimits,
    pub(super) shared: Shared,
    pub(super) timer: Pin<Box<Sleep>>,
    /// The stream and the last message, when there is one.
    pub(super) unsent: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    /// Its idle timeout was reported.
    pub(super) closing: bool,
    /// Its GOAWAY was reported.
    pub(super) announced: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            protocol: Protocol::Unknown,
            began: now,
            read: now,
            calls: 0,
            idle: now,
            head: None,
            settled: false,
            within: false,
            go_away: false,
            farewell: None,
        }
    }

    /// The next timeout and its key, if nothing else happens before.
    fn due(&self, limits: &ConnectionLimits) -> Option<(Instant, &'static str)> {
        let (since, time, key) = match self.protocol {
            Protocol::Unknown => (self.began, limits.handshake, "handshake_timeout"),
            Protocol::Http2 if !self.settled => (self.began, limits.handshake, "handshake_timeout"),
            Protocol::Http1 if self.calls > 0 => return None,
            _ => match self.head {
                Some(since) => (since, limits.handshake, "handshake_timeout"),
                None if self.within => (self.read, limits.body, "body_timeout"),
                None if self.calls > 0 => return None,
                None => (self.idle, limits.keep_alive, KEEP_ALIVE),
            },
        };
        (!time.is_zero()).then(|| (since + time, key))
    }
}

const KEEP_ALIVE: &str = "keep_alive";

impl ConnectionMonitor {
    /// Waits for the next event. Poll it in the connection's own task, after the connection.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| {
            loop {
                let mut progress = self.shared.lock();
                if progress.go_away && !self.announced {
                    self.announced = true;
                    return Poll::Ready(Event::GoAway);
                }
                let Some((at, key)) = progress.due(&self.limits) else {
                    return Poll::Pending;
                };
                if key == KEEP_ALIVE && self.closing {
                    return Poll::Pending;
                }
                let now = Instant::now();
                if at <= now {
                    if key == KEEP_ALIVE {
                        self.closing = true;
                        let handshake = self.limits.handshake;
                        let last = (!handshake.is_zero()).then(|| now + handshake);
                        return Poll::Ready(Event::Idle(last));
                    }
                    // A client that sent half a head gets an answer, a silent one does not.
                    if progress.protocol == Protocol::Http1 {
                        let message =
                            format!("the request's head was not complete in time ({key})");
                        progress.farewell =
                            Some(closing::http1_answer("408 Request Timeout", &message));
                    } else if progress.protocol == Protocol::Http2 {
                        progress.farewell = Some(closing::go_away(ErrorCode::NoError, key));
                    }
                    return Poll::Ready(Event::Stalled(key));
                }
                drop(progress);
                // A timer that fires too early costs one more poll; resetting it each time costs
                // more.
                let timer = self.timer.deadline();
                if at < timer || timer <= now {
                    self.timer.as_mut().reset(at);
                }
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Counts requests of HTTP/1. Those of HTTP/2 are counted by their frames.
    pub(crate) fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.shared))
    }

    /// Whether a call is open.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.lock().calls > 0
    }

    /// Sends the last message, after the connection is dropped.
    pub(super) async fn farewell(mut self) {
        if let Ok((stream, message)) = self.unsent.try_recv() {
            closing::send_and_close(stream, &message).await;
        }
    }

    pub(super) fn new(
        limits: ConnectionLimits,
        shared: Shared,
        unsent: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    ) -> Self {
        let began = shared.lock().began;
        Self {
            limits,
            timer: Box::pin(sleep_until(began + limits.handshake)),
            shared,
            unsent,
            closing: false,
            announced: false,
        }
    }
}

/// Counts the requests of one connection.
#[derive(Clone)]
pub(crate) struct Requests(Shared);

impl Requests {
    /// Counts a request until the value is dropped.
    pub(crate) fn begin(&self) -> OpenRequest {
        let mut progress = self.0.lock();
        let counts = progress.protocol != Protocol::Http2;
        if counts {
            progress.calls += 1;
            progress.head = None;
        }
        OpenRequest(counts.then(|| Arc::clone(&self.0)))
    }
}

/// A request in progress.
pub(crate) struct OpenRequest(Option<Shared>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            let mut progress = shared.lock();
            progress.calls = progress.calls.saturating_sub(1);
            progress.idle = Instant::now();
        }
    }
}
