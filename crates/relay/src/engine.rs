//! The engine: connections and calls, and how bytes go from one to the other.

mod answer;
mod buffers;
mod conn_timers;
mod control;
mod dispatch;
mod life;
pub(crate) mod liveness;
mod memory;
mod receive;
mod request;
mod transfer;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Instant,
};

use crate::{
    call::{Call, Phase},
    config::Config,
    conn::{Conn, Drain, Side},
    frame::ErrorCode,
    hash::Map,
    host::{Cause, Endpoint, Host, PeerProtocol},
    hpack::Block,
    parser::ConnectionError,
    slab::{Id, Slab},
};

/// The streams of a connection to an endpoint that has not announced a limit yet.
const STREAMS_AT_FIRST: u32 = 100;

/// Output of this size is written before the other connections are read. It is worth a system call,
/// and would only displace other data from the processor's caches.
const LARGE_OUTPUT: usize = 128 * 1024;

/// Why [`Slab::expected`] finds what it looks for.
mod invariant {
    pub(super) const EVENT: &str = "a connection is removed between two of its events";
    pub(super) const CONNECTION: &str = "a connection is removed after the last of its calls";
    pub(super) const STREAM: &str = "a call is removed together with its streams";
    pub(super) const STEP: &str = "nothing in this step ends the call before";
}

/// Relays calls between the connections of clients and of instances. Nothing here does I/O. Bytes
/// come in by [`Self::received`] and go out by [`Self::output`]. [`Self::tick`] tells the time, and
/// [`Self::take_wanted`] which connections are needed.
#[derive(Debug)]
pub struct Engine<H: Host> {
    config: Config,
    host: H,
    conns: Slab<Conn>,
    calls: Slab<Call<H::Call>>,
    pools: Map<Endpoint, Pool>,
    /// Deadlines. Those of calls that are over are removed when they are many.
    timers: BinaryHeap<Reverse<(Instant, Id)>>,
    /// When clients' connections are to be told to go away.
    conn_timers: conn_timers::ConnTimers,
    /// Connections with output, or that are to be closed, since the driver last looked.
    dirty: Vec<Id>,
    /// Those of them whose output is large enough to be written at once.
    large: Vec<Id>,
    buffers: buffers::BufferPool,
    wanted: Vec<Endpoint>,
    /// Endpoints whose connections may have room for what waits.
    sendable: Vec<Endpoint>,
    /// `send_waiting` runs already.
    sending_waiting: bool,
    /// Work of this step beyond that of one frame, in events.
    work: usize,
    /// Bytes that calls keep, and that wait to be written.
    memory: usize,
    /// The host's fields of the block that is being written.
    extra: Block,
    /// Fields before those of a request.
    first: Block,
    /// Buffers of requests that are over.
    spare: Vec<Vec<u8>>,
    now: Instant,
}

/// The connections to one endpoint.
#[derive(Debug)]
struct Pool {
    conns: Vec<Id>,
    waiting: VecDeque<Id>,
    connecting: bool,
    /// The streams that its last SETTINGS allowed on a connection. A new connection begins with it.
    max_streams: u32,
    /// The same of the header list it takes.
    max_header_list: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            conns: Vec::new(),
            waiting: VecDeque::new(),
            connecting: false,
            max_streams: STREAMS_AT_FIRST,
            max_header_list: u32::MAX,
        }
    }
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
            pools: Map::default(),
            timers: BinaryHeap::new(),
            conn_timers: conn_timers::ConnTimers::default(),
            dirty: Vec::new(),
            large: Vec::new(),
            buffers: buffers::BufferPool::default(),
            wanted: Vec::new(),
            sendable: Vec::new(),
            sending_waiting: false,
            work: 0,
            memory: 0,
            extra: Block::new(),
            first: Block::new(),
            spare: Vec::new(),
            now,
        }
    }

    /// The host.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many connections there are, of clients and to instances.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Bytes that calls keep, and that wait to be written.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// A client has connected.
    pub fn accept(&mut self) -> Id {
        self.open(Side::Client, None)
    }

    fn open(&mut self, side: Side, to: Option<Endpoint>) -> Id {
        let conn = Conn::new(side, to, &self.config, self.now);
        let id = self.conns.insert(conn);
        if side == Side::Client {
            self.start_conn_timers(id);
        }
        self.mark_dirty(id);
        id
    }

    /// Takes bytes of a connection, in any pieces. Returns their work in events, of which a frame has a
    /// few whatever its size.
    pub fn received(&mut self, id: Id, mut bytes: &[u8]) -> usize {
        let mut events = 0;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.received = conn.received.wrapping_add(bytes.len() as u64);
        }
        loop {
            let Some(conn) = self.conns.get_mut(id).filter(|conn| !conn.closed) else {
                return events;
            };
            let outcome = match conn.parser.next_event(&mut bytes) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    events += 1;
                    self.on_event(id, event)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.end(id, error);
                break;
            }
        }
        self.mark_dirty(id);
        events + std::mem::take(&mut self.work)
    }

    /// Ends a connection because of its peer's error.
    fn end(&mut self, id: Id, error: ConnectionError) {
        if let Some(conn) = self.conns.expected(id, invariant::EVENT) {
            let protocol = match error.code {
                ErrorCode::InadequateSecurity => Some(PeerProtocol::Tls),
                ErrorCode::Http11Required => Some(PeerProtocol::Http1),
                _ => None,
            };
            match protocol.filter(|_| conn.side == Side::Client && conn.is_new()) {
                Some(protocol) => conn.close_with(&self.host.wrong_protocol(id, protocol)),
                None => conn.fail(error),
            }
        }
        self.connection_lost(id);
    }

    /// The peer has closed a connection, or it broke.
    pub fn closed(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.closed = true;
        }
        self.connection_lost(id);
        if let Some(conn) = self.conns.remove(id) {
            self.memory -= conn.counted;
        }
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
            let leaves = conn.leaving || conn.draining == Drain::Final;
            conn.closed || (leaves && conn.streams.is_empty())
        })
    }

    /// Whether a connection has failed. Its peer is told why, if it reads soon.
    #[must_use]
    pub fn has_failed(&self, id: Id) -> bool {
        self.conns.get(id).is_none_or(|conn| conn.closed)
    }

    /// Whether a connection may be read: not while its own output grows because its peer does not read.
    /// Bodies and requests of others alone do not reach that limit: two sides that each wait for the
    /// other to read would wait for ever.
    #[must_use]
    pub fn wants_input(&self, id: Id) -> bool {
        self.conns.get(id).is_some_and(|conn| {
            let most = match conn.side {
                Side::Client => 2 * self.config.max_output,
                Side::Upstream => self.config.client_memory.max(2 * self.config.max_output),
            };
            !conn.closed && conn.output().len() <= most
        })
    }

    /// A connection has taken `bytes` of its output.
    pub fn wrote(&mut self, id: Id, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.wrote(bytes);
            self.buffers.take_back(conn);
            self.count_output(id);
            self.unblock(id);
        }
    }

    /// The connections that may have something to write or to close since the last time.
    pub fn take_dirty(&mut self, into: &mut Vec<Id>) {
        into.clear();
        std::mem::swap(&mut self.dirty, into);
        for id in into {
            if let Some(conn) = self.conns.get_mut(*id) {
                conn.dirty = false;
                conn.shrink();
            }
            self.count_output(*id);
            self.enforce_output_limit(*id);
        }
    }

    /// A connection whose output is large enough to be written now, before others are read.
    pub fn take_large(&mut self) -> Option<Id> {
        let id = self.large.pop()?;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.large = false;
        }
        Some(id)
    }

    /// The endpoints to which a connection is wanted since the last time: [`Self::connected`] or
    /// [`Self::unreachable`] is to follow for each.
    pub fn take_wanted(&mut self) -> Vec<Endpoint> {
        std::mem::take(&mut self.wanted)
    }

    /// When [`Self::tick`] is next needed.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        let deadline = self.timers.peek().map(|Reverse((at, _))| *at);
        [deadline, self.conn_timers.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sets the time, and ends the calls whose deadline is over. Call it before [`Self::received`].
    pub fn tick(&mut self, now: Instant) {
        self.now = now;
        self.host.tick(now);
        self.fire_conn_timers();
        while let Some(Reverse((at, call))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            self.expire(call);
        }
    }

    /// Sends GOAWAY to every client. Calls go on to their end.
    pub fn drain(&mut self) {
        let clients = self.conns.iter().filter(|(_, c)| c.side == Side::Client);
        for id in clients.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.drain();
                self.mark_dirty(id);
            }
        }
    }

    /// Ends the calls that are left when the time of a drain is over, and returns how many.
    pub fn cut(&mut self) -> usize {
        let calls: Vec<Id> = self.calls.iter().map(|(id, _)| id).collect();
        for call in &calls {
            self.finish(*call, crate::Ended::Cut);
        }
        calls.len()
    }

    /// The driver has to look at a connection.
    fn mark_dirty(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if conn.output().len() >= LARGE_OUTPUT && !std::mem::replace(&mut conn.large, true) {
            self.large.push(id);
        }
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
    }

    fn set_timer(&mut self, at: Instant, call: Id) {
        self.timers.push(Reverse((at, call)));
        if self.timers.len() > 2 * self.calls.len() + 64 {
            let calls = &self.calls;
            self.timers
                .retain(|Reverse((_, call))| calls.get(*call).is_some());
        }
    }

    fn expire(&mut self, id: Id) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.abort_response(id, Cause::Deadline);
        } else {
            self.attempt_failed(id, false, Cause::Deadline);
        }
    }
}
