//! Clients' connections that are silent: in the middle of what they say, which nobody waits for for
//! ever, or with nothing to do, which are closed in peace. Looked at now and then, so that no call
//! costs anything for it.

use std::time::{Duration, Instant};

use crate::{
    conn::{Conn, Drain},
    engine::Engine,
    frame::Code,
    host::Host,
    parser::{Awaits, Fatal},
    slab::Id,
};

/// What a connection was when it was looked at last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    began: Instant,
    /// Bytes that had come, since when no others have.
    heard: u64,
    heard_at: Instant,
    /// Its header blocks, since when it is in the present one.
    blocks: u64,
    blocks_at: Instant,
    /// The highest stream, since when it has no call.
    stream: u32,
    idle_at: Instant,
}

impl Looked {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            began: now,
            heard: 0,
            heard_at: now,
            blocks: 0,
            blocks_at: now,
            stream: 0,
            idle_at: now,
        }
    }
}

/// What a connection's silence comes to.
enum Silence {
    /// Nothing yet.
    Fine,
    /// It is closed in peace.
    Idle,
    /// It is ended, with this key.
    Stalled(&'static str),
}

impl<H: Host> Engine<H> {
    /// How often connections are looked at: twice in the shortest of their times.
    pub(super) fn look_after(&self) -> Option<Duration> {
        let config = &self.config;
        let times = [config.handshake, config.silence, config.keep_alive];
        let shortest = times.into_iter().flatten().min()?;
        Some((shortest / 2).max(Duration::from_millis(10)))
    }

    /// Looks at a connection; false when it need not be looked at again.
    pub(super) fn look(&mut self, id: Id) -> bool {
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
        let looked = conn.look(now);
        let silence = match conn.parser.awaits() {
            Awaits::Preface if over(looked.began, config.handshake) => {
                Silence::Stalled("handshake_timeout")
            }
            Awaits::Block if over(looked.blocks_at, config.handshake) => {
                Silence::Stalled("handshake_timeout")
            }
            Awaits::Frame if over(looked.heard_at, config.silence) => {
                Silence::Stalled("body_timeout")
            }
            Awaits::Nothing
                if conn.streams.is_empty() && over(looked.idle_at, config.keep_alive) =>
            {
                Silence::Idle
            }
            _ => Silence::Fine,
        };
        match silence {
            Silence::Fine => true,
            Silence::Idle if conn.draining == Drain::No => {
                conn.drain();
                self.mark(id);
                true
            }
            // What it was told has had its time.
            Silence::Idle => {
                conn.drain();
                self.mark(id);
                false
            }
            Silence::Stalled(reason) => {
                let code = Code::NoError;
                conn.fail(Fatal { code, reason });
                self.lose(id);
                false
            }
        }
    }
}

impl Conn {
    /// What has changed since the last look.
    fn look(&mut self, now: Instant) -> Looked {
        let (heard, blocks) = (self.heard, self.parser.blocks());
        let looked = &mut self.looked;
        if looked.heard != heard {
            (looked.heard, looked.heard_at) = (heard, now);
        }
        if looked.blocks != blocks || self.parser.awaits() != Awaits::Block {
            (looked.blocks, looked.blocks_at) = (blocks, now);
        }
        if looked.stream != self.stream || !self.streams.is_empty() {
            (looked.stream, looked.idle_at) = (self.stream, now);
        }
        *looked
    }
}
