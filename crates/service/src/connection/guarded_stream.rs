//! A client's stream under guard: it counts frames, enforces write timeouts and sends GOAWAY.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mesh_relay::{
    frame::{ErrorCode, FrameType, HEADER_BYTES, Head, PREFACE, flag},
    tap::{Tap, Tapped},
};
use parking_lot::Mutex;
use tokio::{io::AsyncWrite as _, net::TcpStream, sync::oneshot, time::Instant};

use super::{
    closing::go_away,
    flood::{FloodDetector, Verdict},
    frames::FrameTracker,
    monitor::{ConnectionMonitor, Progress, Protocol, Shared},
};
use crate::{
    idle_timer::IdleTimer,
    limits::{ConnectionLimits, METADATA_HEADROOM},
};

/// The identifier of SETTINGS_MAX_HEADER_LIST_SIZE.
const MAX_HEADER_LIST_SIZE: [u8; 2] = [0, 6];

/// A client's stream under guard.
pub(crate) type GuardedStream = Tapped<Guard>;

/// Follows the frames and the pace of a connection.
pub(crate) struct Guard {
    stream: Option<TcpStream>,
    shared: Shared,
    /// Bytes of the HTTP/2 preface that have come.
    preface: usize,
    inbound: FrameTracker,
    outbound: FrameTracker,
    flood: FloodDetector,
    /// Frames of the guard's own, sent between two of the connection's.
    pending: Vec<u8>,
    /// The limit of metadata that our SETTINGS are to announce, until they are written.
    advertised: Option<u32>,
    /// The changed SETTINGS that are still to be written.
    settings: Vec<u8>,
    /// Runs while the client does not read.
    write_timeout: IdleTimer,
    unsent: Option<oneshot::Sender<(TcpStream, Vec<u8>)>>,
}

pub(super) fn guard(
    stream: TcpStream,
    limits: ConnectionLimits,
    advertised: Option<u32>,
) -> (GuardedStream, ConnectionMonitor) {
    let now = Instant::now();
    let shared = Arc::new(Mutex::new(Progress::new(now)));
    let (sender, receiver) = oneshot::channel();
    // Larger metadata is still read, so that only its call is refused.
    let max_block = (METADATA_HEADROOM as usize).saturating_mul(limits.header_bytes as usize);
    let guard = Guard {
        stream: Some(stream),
        shared: Arc::clone(&shared),
        preface: 0,
        inbound: FrameTracker::default(),
        outbound: FrameTracker::default(),
        flood: FloodDetector::new(limits.wasted_calls, max_block, now.into_std()),
        pending: Vec::new(),
        advertised,
        settings: Vec::new(),
        write_timeout: IdleTimer::new(limits.body),
        unsent: Some(sender),
    };
    (
        Tapped(guard),
        ConnectionMonitor::new(limits, shared, receiver),
    )
}

impl Guard {
    /// Counts what the client has sent.
    fn count_read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
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

    /// Counts what was written to the client.
    fn count_written(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_timeout.reset();
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
                tracing::debug!(reason, "a connection gets GOAWAY");
                // The highest stream: the connection itself tells which it processed.
                self.pending = go_away(ErrorCode::EnhanceYourCalm, reason);
                self.shared.lock().go_away = true;
                Ok(())
            }
            Verdict::Close(reason) => {
                let words = go_away(ErrorCode::EnhanceYourCalm, reason);
                self.shared.lock().farewell = Some(words);
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason))
            }
        }
    }

    /// Fails when the client has not read for `body_timeout`.
    fn poll_write_timeout(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.write_timeout.poll(cx));
        let words = "the client has not read for body_timeout";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, words)))
    }
}

fn keep_worst(verdict: &mut Verdict, other: Verdict) {
    match (&verdict, &other) {
        (Verdict::Ok, _) | (Verdict::GoAway(_), Verdict::Close(_)) => *verdict = other,
        _ => {}
    }
}

impl Tap for Guard {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut();
        stream
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn on_read(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.count_read(bytes)?;
        // If the client does not read now, it is sent before the next frame.
        match self.poll_flush(cx) {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.poll_flush(cx) {
            Poll::Ready(written) => written?,
            Poll::Pending => return self.poll_write_timeout(cx),
        }
        if let Some(limit) = self.advertised.take() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            let settings = first.and_then(|first| with_header_limit(first, limit));
            self.settings = settings.unwrap_or_default();
        }
        // They are as long as the caller's, which continues after them.
        let settings = std::mem::take(&mut self.settings);
        let ours = [IoSlice::new(&settings)];
        let slices = if settings.is_empty() { slices } else { &ours };
        let outcome = self.stream()?.poll_write_vectored(cx, slices);
        let Poll::Ready(written) = outcome else {
            self.settings = settings;
            return self.poll_write_timeout(cx);
        };
        let written = written?;
        let mut left = written;
        for slice in slices {
            let length = slice.len().min(left);
            left -= length;
            if length > 0 {
                self.count_written(&slice[..length])?;
            }
        }
        self.settings = settings.get(written..).unwrap_or_default().to_vec();
        Poll::Ready(Ok(written))
    }

    /// Sends what is pending between two frames, as far as the client reads.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() && self.outbound.between() {
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let written = ready!(Pin::new(stream).poll_write(cx, &self.pending))?;
            self.pending.drain(..written);
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The SETTINGS at the front of these bytes, with another limit of metadata.
fn with_header_limit(bytes: &[u8], limit: u32) -> Option<Vec<u8>> {
    let head = Head::read(bytes).filter(|head| head.kind == FrameType::Settings)?;
    let mut frame = bytes.get(..HEADER_BYTES + head.length)?.to_vec();
    for setting in frame[HEADER_BYTES..].chunks_exact_mut(6) {
        if setting[..2] == MAX_HEADER_LIST_SIZE {
            setting[2..].copy_from_slice(&limit.to_be_bytes());
        }
    }
    Some(frame)
}

impl Drop for Guard {
    /// The monitor sends the last message, since a drop cannot wait.
    fn drop(&mut self) {
        let Some(words) = self.shared.lock().farewell.take() else {
            return;
        };
        let whole = self.outbound.between();
        if let (true, Some(stream), Some(unsent)) = (whole, self.stream.take(), self.unsent.take())
        {
            // There is no monitor any more when the process ends.
            unsent.send((stream, words)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_relay::frame;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{keys::ChassisKeys, limits::Limits, tests::config};

    #[tokio::test]
    async fn our_settings_tell_the_limit_and_all_else_is_written_as_it_is() {
        let mut bytes = Vec::new();
        frame::settings(&mut bytes, &[(3, 100), (6, 1 << 20)]);
        frame::ping(&mut bytes, [6; 8]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        let limits = Limits::new(&ChassisKeys::from_config(&config(&[]))).connection;
        let (mut stream, _monitor) = limits.guard(server.unwrap().0, Some(1000));
        stream.write_all(&bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = Vec::new();
        client.unwrap().read_to_end(&mut received).await.unwrap();
        let mut expected = Vec::new();
        frame::settings(&mut expected, &[(3, 100), (6, 1000)]);
        frame::ping(&mut expected, [6; 8]);
        assert_eq!(received, [expected, bytes].concat());
    }
}
