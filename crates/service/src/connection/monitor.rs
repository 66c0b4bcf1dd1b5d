//! Tells when a connection has been silent for too long.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{ConnectionLimits, closing};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Unknown,
    Http1,
    Http2,
}

/// How far a connection is: written by its stream and its requests, read by its watch. All of them
/// run in the connection's own task, so that nobody waits for the lock.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) protocol: Protocol,
    /// Nothing was heard before.
    pub(super) began: Instant,
    /// The last bytes came then.
    pub(super) read: Instant,
    /// Of HTTP/2: calls; of HTTP/1: the request that is answered.
    pub(super) calls: usize,
    /// Since when there are none.
    pub(super) idle: Instant,
    /// Since when a head is coming.
    pub(super) head: Option<Instant>,
    /// Of HTTP/2: SETTINGS have come, as they must.
    pub(super) settled: bool,
    /// Of HTTP/2: a frame is incomplete.
    pub(super) within: bool,
    /// It is to be told to go away, and to finish.
    pub(super) go_away: bool,
    /// What is still to be said when the stream is dropped.
    pub(super) farewell: Option<Vec<u8>>,
}

/// What a connection shares with its watch.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// What is to be done about a connection.
pub(super) enum Event {
    /// It is to finish what is under way.
    GoAway,
    /// It has had nothing to do: it is to be closed in peace, by then at the latest.
    Idle(Option<Instant>),
    /// It has kept us waiting beyond this key's time.
    Stalled(&'static str),
}

/// Watches one connection.
pub(crate) struct ConnectionMonitor {
    pub(super) limits: ConnectionLimits,
    pub(super) shared: Shared,
    pub(super) timer: Pin<Box<Sleep>>,
    /// The stream, when there are words left to say on it.
    pub(super) unsent: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    /// It was found idle.
    pub(super) closing: bool,
    /// It was told to leave.
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

    /// What this comes to if nothing else happens, and when.
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
    /// Waits for something to be done. To be polled in the connection's own task, after it.
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
                    // Half of a head deserves an answer, silence does not.
                    if progress.protocol == Protocol::Http1 {
                        let message = format!("the request's head did not come in time: {key}");
                        progress.farewell = Some(closing::http1("408 Request Timeout", &message));
                    } else if progress.protocol == Protocol::Http2 {
                        progress.farewell = Some(closing::go_away(0x7fff_ffff, 0, key));
                    }
                    return Poll::Ready(Event::Stalled(key));
                }
                drop(progress);
                // A timer that is too early costs one more look; setting it each time costs more.
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

    /// Counts the requests of the connection, where it is not HTTP/2, which is counted by its frames.
    pub(crate) fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.shared))
    }

    /// Whether it has a call.
    pub(super) fn is_busy(&self) -> bool {
        self.shared.lock().calls > 0
    }

    /// Says what is left to say, when the connection is gone.
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

/// Begins the requests of one connection.
#[derive(Clone)]
pub(crate) struct Requests(Shared);

impl Requests {
    /// One begins; it is over when the value is dropped.
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

/// A request that is being answered.
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
