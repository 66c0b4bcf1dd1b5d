//! Clients' connections that are silent: in the middle of what they say, which nobody waits for for
//! ever, or with nothing to do, which are closed in peace. Looked at now and then, so that no call
//! costs anything for it.

use std::time::{Duration, Instant};

use crate::{
    conn::{Conn, Drain},
    engine::Engine,
    frame::ErrorCode,
    host::Host,
    parser::{Awaits, ConnectionError},
    slab::Id,
};

/// What a connection was when it was looked at last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    began: Instant,
    /// Bytes that had come, since when no others have.
    received: u64,
    heard_at: Instant,
    /// Its header blocks, since when it is in the present one.
    blocks: u64,
    blocks_at: Instant,
    /// The highest stream, since when it has no call.
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

/// What a connection's silence comes to.
enum Liveness {
    /// Nothing yet.
    Active,
    /// It is closed in peace.
    Idle,
    /// It is ended, with this key.
    Stalled(&'static str),
}

impl<H: Host> Engine<H> {
    /// How often connections are looked at: twice in the shortest of their times.
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

    /// Looks at a connection; false when it need not be looked at again.
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
            // What it was told has had its time.
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
    /// What has changed since the last look.
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
