//! What is kept is counted, and bounded: per client's connection, and in all.

use crate::{
    call::Phase,
    engine::Engine,
    host::{Cause, Ended, Host},
    slab::Id,
};

/// Output of a connection above which bodies wait when memory is short.
const SHORT_OUTPUT: usize = 16 * 1024;
/// Memory of requests that are over: so many pieces are kept for others, none larger than this.
const SPARE: (usize, usize) = (64, 4096);

impl<H: Host> Engine<H> {
    /// Counts what a call keeps; false when that has grown beyond a limit.
    pub(super) fn weigh(&mut self, id: Id) -> bool {
        let Some(call) = self.calls.get_mut(id) else {
            return true;
        };
        let now = call.weight();
        let before = std::mem::replace(&mut call.counted, now);
        if now == before {
            return true;
        }
        self.memory = self.memory - before + now;
        let Some(conn) = self.conns.get_mut(call.client.conn) else {
            return true;
        };
        conn.buffered = conn.buffered - before + now;
        let few = conn.buffered <= self.config.client_memory && self.memory <= self.config.memory;
        now < before || few
    }

    /// Ends a call whose readers leave too much unread. What is kept for another attempt goes first.
    pub(super) fn bound(&mut self, id: Id) {
        if self.weigh(id) {
            return;
        }
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.phase == Phase::Sent && call.request.whole {
            let memory = call.request.forget();
            let enough = call.weight() == 0;
            self.recycle(memory);
            if enough {
                self.weigh(id);
                return;
            }
        }
        self.finish(id, Ended::Broken(Cause::Memory));
    }

    /// Keeps memory that a request has no more use for.
    pub(super) fn recycle(&mut self, mut memory: Vec<u8>) {
        let (most, largest) = SPARE;
        if self.spare.len() < most && (1..=largest).contains(&memory.capacity()) {
            memory.clear();
            self.spare.push(memory);
        }
    }

    /// Counts the output of a connection.
    pub(super) fn count_output(&mut self, id: Id) {
        if let Some(conn) = self.conns.get_mut(id) {
            let now = conn.output().len();
            self.memory = self.memory - conn.counted + now;
            conn.counted = now;
        }
    }

    /// Output of one connection above which bodies wait.
    pub(super) fn max_output(&self) -> usize {
        if self.memory > self.config.memory {
            SHORT_OUTPUT
        } else {
            self.config.max_output
        }
    }
}
