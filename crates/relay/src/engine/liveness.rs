//! Silent connections of clients. One that stops within a frame is ended, and an idle one is closed
//! with GOAWAY. They are checked at intervals, so that no call pays for it.

use std::time::{Duration, Instant};

use crate::{
    conn::{Conn, Drain},
    engine::Engine,
    frame::ErrorCode,
    host::Host,
    parser::{Awaits, ConnectionError},
    slab::Id,
};

/// The activity of a connection, as last checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    began: Instant,
    /// Received bytes, and when they last grew.
    received: u64,
    heard_at: Instant,
    /// Header blocks, and when the present one began.
    blocks: u64,
    blocks_at: Instant,
    /// The highest stream, and since when it has no call.
    stream: u32,
    idle_at: Instant,
}

impl Activity {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            began: now,
            received: 0,
            heard_at: now,
            blocks: 0,
            blocks_at: now,
            stream: 0,
            idle_at: now,
        }
    }
}

/// The outcome of a check.
enum Liveness {
    /// Nothing yet.
    Active,
    /// It is closed with GOAWAY.
    Idle,
    /// It is ended. The reason is this key.
    Stalled(&'static str),
}

impl<H: Host> Engine<H> {
    /// The interval of checks: half of the shortest limit.
    pub(super) fn check_interval(&self) -> Option<Duration> {
        let config = &self.config;
        let times = [
            config.handshake_timeout,
            config.body_timeout,
            config.keep_alive,
        ];
        let shortest = times.into_iter().flatten().min()?;
        Some((shortest / 2).max(Duration::from_millis(10)))
    }

    /// Checks a connection; false when it need not be checked again.
    pub(super) fn check_liveness(&mut self, id: Id) -> bool {
        let (config, now) = (&self.config, self.now);
        let over = |since: Instant, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        if conn.closed {
            return false;
        }
        let activity = conn.observe(now);
        let liveness = match conn.parser.awaits() {
            Awaits::Preface if over(activity.began, config.handshake_timeout) => {
                Liveness::Stalled("handshake_timeout")
            }
            Awaits::Block if over(activity.blocks_at, config.handshake_timeout) => {
                Liveness::Stalled("handshake_timeout")
            }
            Awaits::Frame if over(activity.heard_at, config.body_timeout) => {
                Liveness::Stalled("body_timeout")
            }
            Awaits::Nothing
                if conn.streams.is_empty() && over(activity.idle_at, config.keep_alive) =>
            {
                Liveness::Idle
            }
            _ => Liveness::Active,
        };
        match liveness {
            Liveness::Active => true,
            Liveness::Idle if conn.draining == Drain::No => {
                conn.drain();
                self.mark_dirty(id);
                true
            }
            // It has had time since the first GOAWAY.
            Liveness::Idle => {
                conn.drain();
                self.mark_dirty(id);
                false
            }
            Liveness::Stalled(reason) => {
                conn.fail(ConnectionError::new(ErrorCode::NoError, reason));
                self.connection_lost(id);
                false
            }
        }
    }
}

impl Conn {
    /// Updates the activity with what has changed since the last check.
    fn observe(&mut self, now: Instant) -> Activity {
        let (received, blocks) = (self.received, self.parser.blocks());
        let activity = &mut self.activity;
        if activity.received != received {
            (activity.received, activity.heard_at) = (received, now);
        }
        if activity.blocks != blocks || self.parser.awaits() != Awaits::Block {
            (activity.blocks, activity.blocks_at) = (blocks, now);
        }
        if activity.stream != self.stream || !self.streams.is_empty() {
            (activity.stream, activity.idle_at) = (self.stream, now);
        }
        *activity
    }
}
