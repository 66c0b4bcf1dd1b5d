//! Memory is counted and limited, per client's connection and in all.

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
/// Free buffers of requests: the number that is kept, and the size of the largest.
const SPARE: (usize, usize) = (256, 2048);

impl<H: Host> Engine<H> {
    /// Counts a call's memory; false when it has grown beyond a limit.
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

    /// Whether all limits are kept for a call.
    fn fits(&self, id: Id) -> bool {
        self.memory <= self.config.memory && self.is_within_client_limit(id)
    }

    /// Whether the client of a call is within `client_memory`.
    fn is_within_client_limit(&self, id: Id) -> bool {
        let conn = self.calls.get(id).map(|call| call.client.conn);
        let conn = conn.and_then(|conn| self.conns.get(conn));
        conn.is_none_or(|conn| conn.buffered <= self.config.client_memory)
    }

    /// Makes room for a call's memory, or ends the call. First it gives up what is kept for another
    /// attempt, then calls of the client that keeps most are ended.
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

    /// Ends a call that keeps more than there is room for.
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

    /// Frees memory of the client that keeps most; false when that is this one.
    fn shed(&mut self, but: Id) -> bool {
        let clients = self.conns.iter().filter(|(_, conn)| !conn.closed);
        let clients = clients.filter(|(_, conn)| conn.side == Side::Client);
        let most = clients.max_by_key(|(_, conn)| conn.buffered + conn.counted);
        let Some((id, conn)) = most.filter(|(id, _)| *id != but) else {
            return false;
        };
        if conn.counted >= conn.buffered {
            // Not its calls are large, but the output that it does not read.
            self.abandon(id);
            return true;
        }
        // Many clients may share a proxy's connection: those with small calls keep them.
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

    /// Ends a connection, and drops what it has not read.
    fn abandon(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.abandon();
            self.count_output(id);
            self.connection_lost(id);
        }
    }

    /// Ends the connection of a client that does not even read the heads and ends of answers, which need
    /// no window.
    pub(super) fn enforce_output_limit(&mut self, id: Id) {
        let most = self.config.client_memory;
        if let Some(conn) = self.conns.get(id)
            && conn.side == Side::Client
            && conn.counted > most
        {
            self.abandon(id);
        }
    }

    /// Keeps the buffer of a request that is over.
    pub(super) fn recycle(&mut self, mut memory: Vec<u8>) {
        let (most, largest) = SPARE;
        if self.spare.len() < most && (1..=largest).contains(&memory.capacity()) {
            memory.clear();
            self.spare.push(memory);
        }
    }

    /// Counts a connection's memory besides its calls.
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
