//! A client's stream that follows what passes through it.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mesh_relay::frame::{FrameType, PREFACE, flag};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

use super::{
    ConnectionLimits, ConnectionMonitor,
    closing::{ENHANCE_YOUR_CALM, go_away},
    flood::{FloodDetector, Verdict},
    frames::FrameTracker,
    monitor::{Progress, Shared, Protocol},
};

/// A stream under guard.
pub(crate) struct GuardedStream {
    stream: Option<TcpStream>,
    shared: Shared,
    limits: ConnectionLimits,
    /// Bytes of the preface that have come.
    preface: usize,
    inbound: FrameTracker,
    outbound: FrameTracker,
    flood: FloodDetector,
    /// What is said between two frames of the connection's own.
    pending: Vec<u8>,
    /// Runs while the client does not read.
    write_timeout: Option<Pin<Box<Sleep>>>,
    unsent: Option<oneshot::Sender<(TcpStream, Vec<u8>)>>,
}

pub(super) fn guard(stream: TcpStream, limits: ConnectionLimits) -> (GuardedStream, ConnectionMonitor) {
    let now = Instant::now();
    let shared = Arc::new(Mutex::new(Progress::new(now)));
    let (sender, receiver) = oneshot::channel();
    // Larger heads are read all the same, so that their calls alone are told of the limit.
    let max_block =
        (crate::server::METADATA_HEADROOM as usize).saturating_mul(limits.header_bytes as usize);
    let guarded = GuardedStream {
        stream: Some(stream),
        shared: Arc::clone(&shared),
        limits,
        preface: 0,
        inbound: FrameTracker::default(),
        outbound: FrameTracker::default(),
        flood: FloodDetector::new(limits.wasted_calls, max_block, now.into_std()),
        pending: Vec::new(),
        write_timeout: None,
        unsent: Some(sender),
    };
    (guarded, ConnectionMonitor::new(limits, shared, receiver))
}

fn not_connected() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl GuardedStream {
    /// Looks at what the client has sent.
    fn on_read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let mut progress = self.shared.lock();
        progress.read = now;
        if progress.protocol == Protocol::Unknown {
            let rest = &PREFACE[self.preface..];
            let length = rest.len().min(bytes.len());
            if bytes[..length] == rest[..length] {
                self.preface += length;
                bytes = &bytes[length..];
                if self.preface == PREFACE.len() {
                    progress.protocol = Protocol::Http2;
                    progress.idle = now;
                }
            } else {
                progress.protocol = Protocol::Http1;
            }
        }
        match progress.protocol {
            Protocol::Unknown => return Ok(()),
            Protocol::Http1 => {
                if progress.calls == 0 {
                    progress.head.get_or_insert(now);
                }
                return Ok(());
            }
            Protocol::Http2 => {}
        }
        let (flood, mut verdict) = (&mut self.flood, Verdict::Ok);
        let settled = &mut progress.settled;
        self.inbound.follow(bytes, |frame| {
            *settled |= frame.head.kind == FrameType::Settings && !frame.head.has(flag::ACK);
            keep_worst(&mut verdict, flood.received(frame, now.into_std()));
        });
        progress.within = !self.inbound.between();
        let in_head = flood.in_block() || self.inbound.in_head();
        let begun = progress.head.unwrap_or(now);
        progress.head = in_head.then_some(begun);
        drop(progress);
        self.count(now);
        self.apply(verdict)
    }

    /// Looks at what was written to the client.
    fn on_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_timeout = None;
        if self.preface < PREFACE.len() {
            return Ok(());
        }
        let now = Instant::now();
        let (flood, mut verdict) = (&mut self.flood, Verdict::Ok);
        self.outbound.follow(bytes, |frame| {
            keep_worst(&mut verdict, flood.sent(frame, now.into_std()));
        });
        self.count(now);
        self.apply(verdict)
    }

    fn count(&self, now: Instant) {
        let mut progress = self.shared.lock();
        let calls = self.flood.calls();
        if calls == 0 && progress.calls > 0 {
            progress.idle = now;
        }
        progress.calls = calls;
    }

    fn apply(&mut self, verdict: Verdict) -> io::Result<()> {
        match verdict {
            Verdict::Ok => Ok(()),
            Verdict::GoAway(reason) => {
                tracing::debug!(reason, "a connection is told to go away");
                // Streams that are under way are still taken; the connection itself says which.
                self.pending = go_away(0x7fff_ffff, ENHANCE_YOUR_CALM, reason);
                self.shared.lock().go_away = true;
                Ok(())
            }
            Verdict::Close(reason) => {
                let words = go_away(0x7fff_ffff, ENHANCE_YOUR_CALM, reason);
                self.shared.lock().farewell = Some(words);
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason))
            }
        }
    }

    /// Says what is to be said between two frames, as far as the client reads.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() && self.outbound.between() {
            let stream = self.stream.as_mut().ok_or_else(not_connected)?;
            let written = ready!(Pin::new(stream).poll_write(cx, &self.pending))?;
            self.pending.drain(..written);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for a client that does not read; not for ever.
    fn poll_write_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.limits.body.is_zero() {
            return Poll::Pending;
        }
        let body = self.limits.body;
        let write_timeout = self.write_timeout.get_or_insert_with(|| Box::pin(sleep(body)));
        ready!(write_timeout.as_mut().poll(cx));
        let words = "body_timeout: the client does not read";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

fn keep_worst(verdict: &mut Verdict, other: Verdict) {
    match (&verdict, &other) {
        (Verdict::Ok, _) | (Verdict::GoAway(_), Verdict::Close(_)) => *verdict = other,
        _ => {}
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let stream = this.stream.as_mut().ok_or_else(not_connected)?;
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() {
            this.on_read(bytes)?;
            // Should the client not read now, it is said before the next frame.
            if let Poll::Ready(written) = this.poll_pending(cx) {
                written?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.poll_pending(cx) {
            Poll::Ready(written) => written?,
            Poll::Pending => return this.poll_write_timeout(cx),
        }
        let stream = this.stream.as_mut().ok_or_else(not_connected)?;
        let Poll::Ready(written) = Pin::new(stream).poll_write_vectored(cx, slices) else {
            return this.poll_write_timeout(cx);
        };
        let written = written?;
        let mut left = written;
        for slice in slices {
            let length = slice.len().min(left);
            left -= length;
            if length > 0 {
                this.on_write(&slice[..length])?;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_pending(cx))?;
        let stream = this.stream.as_mut().ok_or_else(not_connected)?;
        Pin::new(stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut().stream.as_mut().ok_or_else(not_connected)?;
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl Drop for GuardedStream {
    /// What is left to say is said by whoever watches the connection: it takes a moment.
    fn drop(&mut self) {
        let Some(words) = self.shared.lock().farewell.take() else {
            return;
        };
        let whole = self.outbound.between();
        if let (true, Some(stream), Some(unsent)) = (whole, self.stream.take(), self.unsent.take()) {
            // Nobody listens when the process ends.
            unsent.send((stream, words)).ok();
        }
    }
}
