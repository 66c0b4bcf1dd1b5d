//! What is kept is counted, and bounded: per client's connection, and in all.

use crate::{
    call::Phase,
    conn::Side,
    engine::{
        Engine,
        invariant::{CONNECTION, STEP},
    },
    half::Pending,
    host::{Cause, Host},
    slab::Id,
};

/// Output of a connection above which bodies wait when memory is short.
const SHORT_OUTPUT: usize = 16 * 1024;
/// Memory of requests that are over: so many pieces are kept for others, none larger than this.
const SPARE: (usize, usize) = (256, 2048);

impl<H: Host> Engine<H> {
    /// Counts what a call keeps; false when that has grown beyond a limit.
    pub(super) fn account(&mut self, id: Id) -> bool {
        let Some(call) = self.calls.get_mut(id) else {
            return true;
        };
        let now = call.memory();
        let before = std::mem::replace(&mut call.counted, now);
        if now == before {
            return true;
        }
        self.memory = self.memory - before + now;
        let Some(conn) = self.conns.expected(call.client.conn, CONNECTION) else {
            return true;
        };
        conn.buffered = conn.buffered - before + now;
        now < before || self.fits(id)
    }

    /// Whether a call may keep what it does.
    fn fits(&self, id: Id) -> bool {
        self.memory <= self.config.memory && self.is_within_client_limit(id)
    }

    /// Whether the client of a call keeps no more than one client may.
    fn is_within_client_limit(&self, id: Id) -> bool {
        let conn = self.calls.get(id).map(|call| call.client.conn);
        let conn = conn.and_then(|conn| self.conns.get(conn));
        conn.is_none_or(|conn| conn.buffered <= self.config.client_memory)
    }

    /// Makes room for what a call keeps, or ends it. What is kept for another attempt goes first,
    /// then what those keep who keep most.
    pub(super) fn enforce_limit(&mut self, id: Id) {
        if self.account(id) {
            return;
        }
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let client = call.client.conn;
        if call.phase == Phase::Sent && call.request.whole {
            let memory = call.request.forget();
            self.recycle(memory);
            self.account(id);
        }
        while !self.fits(id) {
            if !self.is_within_client_limit(id) || !self.shed(client) {
                return self.exhausted(id);
            }
        }
    }

    /// A call that keeps more than there is room for.
    fn exhausted(&mut self, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            call.client.pending = Pending::default();
            self.abort_response(id, Cause::Memory);
        } else {
            self.attempt_failed(id, false, Cause::Memory);
        }
    }

    /// Takes memory from the client who keeps most; false when that is this one.
    fn shed(&mut self, but: Id) -> bool {
        let clients = self.conns.iter().filter(|(_, conn)| !conn.closed);
        let clients = clients.filter(|(_, conn)| conn.side == Side::Client);
        let most = clients.max_by_key(|(_, conn)| conn.buffered + conn.counted);
        let Some((id, conn)) = most.filter(|(id, _)| *id != but) else {
            return false;
        };
        if conn.counted >= conn.buffered {
            // Its calls are not what is large, but what it does not read.
            self.abandon(id);
            return true;
        }
        // Of many clients behind one proxy, those with small calls keep theirs.
        let average = conn.buffered / conn.streams.len().max(1);
        let calls: Vec<Id> = conn.streams.values().copied().collect();
        for call in calls {
            if self
                .calls
                .get(call)
                .is_some_and(|call| call.counted >= average)
            {
                self.exhausted(call);
            }
        }
        true
    }

    /// Ends a connection, and what it has not read is lost.
    fn abandon(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.abandon();
            self.count_output(id);
            self.connection_lost(id);
        }
    }

    /// Ends the connection of a client who does not read even what needs no window: the heads and
    /// the ends of answers.
    pub(super) fn enforce_output_limit(&mut self, id: Id) {
        let most = self.config.client_memory;
        if let Some(conn) = self.conns.get(id)
            && conn.side == Side::Client
            && conn.counted > most
        {
            self.abandon(id);
        }
    }

    /// Keeps memory that a request has no more use for.
    pub(super) fn recycle(&mut self, mut memory: Vec<u8>) {
        let (most, largest) = SPARE;
        if self.spare.len() < most && (1..=largest).contains(&memory.capacity()) {
            memory.clear();
            self.spare.push(memory);
        }
    }

    /// Counts what a connection keeps besides its calls.
    pub(super) fn count_output(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            let now = conn.output().len() + conn.parser.held();
            self.memory = self.memory - conn.counted + now;
            conn.counted = now;
        }
    }

    /// Output of one connection above which bodies wait.
    pub(super) fn max_output(&self) -> usize {
        if self.memory > self.config.memory {
            SHORT_OUTPUT.min(self.config.max_output)
        } else {
            self.config.max_output
        }
    }
}
