//! Tells when a connection has been silent for too long.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{Limits, farewell};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Unknown,
    Http1,
    Http2,
}

/// How far a connection is: written by its stream and its requests, read by its watch. All of them
/// run in the connection's own task, so that nobody waits for the lock.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) speaks: Speaks,
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
    pub(super) leave: bool,
    /// What is still to be said when the stream is dropped.
    pub(super) farewell: Option<Vec<u8>>,
}

/// What a connection shares with its watch.
pub(super) type Shared = Arc<Mutex<Progress>>;

/// What is to be done about a connection.
pub(super) enum Verdict {
    /// It is to finish what is under way.
    Leave,
    /// It has had nothing to do: it is to be closed in peace, by then at the latest.
    Idle(Option<Instant>),
    /// It has kept us waiting beyond this key's time.
    Stalled(&'static str),
}

/// Watches one connection.
pub(crate) struct Watch {
    pub(super) limits: Limits,
    pub(super) shared: Shared,
    pub(super) timer: Pin<Box<Sleep>>,
    /// The stream, when there are words left to say on it.
    pub(super) left: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    /// It was found idle.
    pub(super) closing: bool,
    /// It was told to leave.
    pub(super) told: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            speaks: Speaks::Unknown,
            began: now,
            read: now,
            calls: 0,
            idle: now,
            head: None,
            settled: false,
            within: false,
            leave: false,
            farewell: None,
        }
    }

    /// What this comes to if nothing else happens, and when.
    fn due(&self, limits: &Limits) -> Option<(Instant, &'static str)> {
        let (since, time, key) = match self.speaks {
            Speaks::Unknown => (self.began, limits.handshake, "handshake_timeout"),
            Speaks::Http2 if !self.settled => (self.began, limits.handshake, "handshake_timeout"),
            Speaks::Http1 if self.calls > 0 => return None,
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

impl Watch {
    /// Waits for something to be done. To be polled in the connection's own task, after it.
    pub(super) async fn next(&mut self) -> Verdict {
        poll_fn(|cx| {
            loop {
                let mut progress = self.shared.lock();
                if progress.leave && !self.told {
                    self.told = true;
                    return Poll::Ready(Verdict::Leave);
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
                        return Poll::Ready(Verdict::Idle(last));
                    }
                    // Half of a head deserves an answer, silence does not.
                    if progress.speaks == Speaks::Http1 {
                        let words = format!("the request's head did not come in time: {key}");
                        progress.farewell = Some(farewell::http1("408 Request Timeout", &words));
                    } else if progress.speaks == Speaks::Http2 {
                        progress.farewell = Some(farewell::go_away(0x7fff_ffff, 0, key));
                    }
                    return Poll::Ready(Verdict::Stalled(key));
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
        if let Ok((stream, words)) = self.left.try_recv() {
            farewell::say(stream, &words).await;
        }
    }

    pub(super) fn new(
        limits: Limits,
        shared: Shared,
        left: oneshot::Receiver<(TcpStream, Vec<u8>)>,
    ) -> Self {
        let began = shared.lock().began;
        Self {
            limits,
            timer: Box::pin(sleep_until(began + limits.handshake)),
            shared,
            left,
            closing: false,
            told: false,
        }
    }
}

/// Begins the requests of one connection.
#[derive(Clone)]
pub(crate) struct Requests(Shared);

impl Requests {
    /// One begins; it is over when the value is dropped.
    pub(crate) fn begin(&self) -> Request {
        let mut progress = self.0.lock();
        let counts = progress.speaks != Speaks::Http2;
        if counts {
            progress.calls += 1;
            progress.head = None;
        }
        Request(counts.then(|| Arc::clone(&self.0)))
    }
}

/// A request that is being answered.
pub(crate) struct Request(Option<Shared>);

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            let mut progress = shared.lock();
            progress.calls = progress.calls.saturating_sub(1);
            progress.idle = Instant::now();
        }
    }
}
