//! The engine: connections and calls, and how bytes go from one to the other.

mod answer;
mod dispatch;
mod receive;
mod transfer;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    call::{Call, Phase},
    conn::{Conn, Side},
    frame::Code,
    host::{Cause, Ended, Endpoint, Host},
    settings::Settings,
    slab::{Id, Slab},
};

/// Every limit of the engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// What our SETTINGS say, to clients and to instances.
    pub settings: Settings,
    /// Receive window of a connection, bytes, at least 65,535.
    pub connection_window: u32,
    /// Output of one connection above which nothing more is put there until its peer reads.
    pub max_output: usize,
    /// Bytes of a request that are kept for another attempt.
    pub replay: usize,
    /// Deadline of calls that bring none; the others are shortened by the time that passes here.
    pub default_timeout: Option<Duration>,
    /// Frames in a row that bring no call further before a connection is ended.
    pub idle_frames: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings {
                header_table: 4096,
                max_streams: 10_000,
                window: 256 * 1024,
                max_frame: 64 * 1024,
                max_header_list: 64 * 1024,
            },
            connection_window: 16 << 20,
            max_output: 1 << 20,
            replay: 64 * 1024,
            default_timeout: None,
            idle_frames: 1000,
        }
    }
}

/// Relays calls between the connections of clients and of instances. Nothing here does I/O: bytes
/// come in by [`Self::received`] and go out by [`Self::output`], time by [`Self::tick`].
#[derive(Debug)]
pub struct Engine<H: Host> {
    config: Config,
    host: H,
    conns: Slab<Conn>,
    calls: Slab<Call<H::Call>>,
    pools: HashMap<Endpoint, Pool>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    /// The calls of the timers, by the number that orders equal times.
    timed: HashMap<u64, Id>,
    timer: u64,
    /// Connections with output, or that are to be closed, since the driver last looked.
    dirty: Vec<Id>,
    now: Instant,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Pool {
    conns: Vec<Id>,
    waiting: VecDeque<Id>,
    connecting: bool,
}

impl<H: Host> Engine<H> {
    /// An engine without connections.
    #[must_use]
    pub fn new(config: Config, host: H, now: Instant) -> Self {
        Self {
            config,
            host,
            conns: Slab::default(),
            calls: Slab::default(),
            pools: HashMap::new(),
            timers: BinaryHeap::new(),
            timed: HashMap::new(),
            timer: 0,
            dirty: Vec::new(),
            now,
        }
    }

    /// Whoever runs it.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// A client has connected.
    pub fn accept(&mut self) -> Id {
        self.open(Side::Client)
    }

    fn open(&mut self, side: Side) -> Id {
        let id = self.conns.insert(Conn::new(side, &self.config));
        self.dirty.push(id);
        id
    }

    /// Bytes have come from a connection, any part of what was sent.
    pub fn received(&mut self, id: Id, mut bytes: &[u8]) {
        loop {
            let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.closed) else {
                return;
            };
            let outcome = match conn.parser.step(&mut bytes) {
                Ok(None) => break,
                Ok(Some(step)) => self.step(id, step),
                Err(fatal) => Err(fatal),
            };
            if let Err(fatal) = outcome {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.fail(fatal);
                }
                self.lose(id);
                break;
            }
        }
        self.dirty.push(id);
    }

    /// The peer has closed a connection, or it broke.
    pub fn closed(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.closed = true;
        }
        self.lose(id);
        self.conns.remove(id);
    }

    /// What is to be written to a connection; empty when there is nothing.
    #[must_use]
    pub fn output(&self, id: Id) -> &[u8] {
        self.conns.get(id).map_or(&[], Conn::output)
    }

    /// Whether a connection is to be closed once its output is written.
    #[must_use]
    pub fn is_closed(&self, id: Id) -> bool {
        self.conns.get(id).is_none_or(|conn| {
            conn.closed || ((conn.draining || conn.leaving) && conn.streams.is_empty())
        })
    }

    /// Whether a connection may be read: not while its own output grows because it does not read.
    #[must_use]
    pub fn wants_input(&self, id: Id) -> bool {
        self.conns
            .get(id)
            .is_some_and(|conn| !conn.closed && conn.output().len() <= self.config.max_output)
    }

    /// A connection has taken so many bytes of its output.
    pub fn wrote(&mut self, id: Id, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.wrote(bytes);
            self.unblock(id);
        }
    }

    /// The connections that may have something to write or to close since the last time.
    pub fn take_dirty(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.dirty)
    }

    /// When [`Self::tick`] is next needed.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Time has passed: ends the calls whose deadline is over.
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        while let Some(Reverse((at, number))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            if let Some(call) = self.timed.remove(&number) {
                self.expire(call);
            }
        }
    }

    /// Announces to every client that we leave; calls go on to their end.
    pub fn drain(&mut self, clients: impl IntoIterator<Item = Id>) {
        for id in clients {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.drain();
                self.dirty.push(id);
            }
        }
    }

    fn set_timer(&mut self, at: Instant, call: Id) {
        self.timer += 1;
        self.timed.insert(self.timer, call);
        self.timers.push(Reverse((at, self.timer)));
    }

    fn expire(&mut self, id: Id) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.break_off(id, Cause::Deadline);
        } else {
            self.attempt_failed(id, false, Cause::Deadline);
        }
    }

    /// A connection is gone: its calls end, or are sent elsewhere.
    fn lose(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let side = conn.side;
        let calls: Vec<Id> = conn.streams.drain().map(|(_, call)| call).collect();
        for pool in self.pools.values_mut().filter(|_| side == Side::Upstream) {
            pool.conns.retain(|conn| *conn != id);
        }
        for call in calls {
            match side {
                Side::Client => self.finish(call, Ended::Cancelled),
                Side::Upstream => self.upstream_ended(call, false, Cause::Lost),
            }
        }
        self.dirty.push(id);
    }

    /// The instance's side of a call ended without a whole answer.
    fn upstream_ended(&mut self, id: Id, unsent: bool, cause: Cause) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.break_off(id, cause);
        } else {
            self.attempt_failed(id, unsent, cause);
        }
    }

    /// Forgets the instance's side of a call; when it is still open, it is reset.
    fn drop_upstream(&mut self, id: Id) {
        let Some(half) = self.calls.get_mut(id).and_then(|call| call.upstream.take()) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(half.conn) {
            if conn.streams.remove(&half.stream).is_some() && !(half.sent_all && half.got_all) {
                conn.reset(half.stream, Code::Cancel);
            }
            self.dirty.push(half.conn);
            self.admit(half.conn);
        }
    }

    /// A call is over: both its streams are closed, and the host is told.
    fn finish(&mut self, id: Id, ended: Ended) {
        self.drop_upstream(id);
        let Some(call) = self.calls.remove(id) else {
            return;
        };
        if let Some(conn) = self.conns.get_mut(call.client.conn) {
            let open = conn.streams.remove(&call.client.stream).is_some();
            if open && !call.client.sent_all {
                conn.reset(call.client.stream, Code::InternalError);
            } else if open && !call.client.got_all {
                // An early answer: the rest of the request is not wanted (RFC 9113, section 8.1).
                conn.reset(call.client.stream, Code::NoError);
            }
            self.dirty.push(call.client.conn);
        }
        self.host.ended(call.host, ended);
    }
}

#[cfg(test)]
mod tests;
