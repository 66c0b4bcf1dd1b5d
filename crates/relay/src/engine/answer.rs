//! How an answer reaches the client: an instance's, or one of the host's own.

use crate::{
    call::Phase,
    engine::Engine,
    frame,
    half::End,
    host::{Cause, Ended, Host},
    hpack::Block,
    slab::Id,
};

impl<H: Host> Engine<H> {
    /// The headers of an instance's answer.
    pub(super) fn answer(&mut self, id: Id, block: &Block, end: bool) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.phase = Phase::Answered;
        call.request.forget();
        let mut extra = Block::new();
        self.host.answered(&mut call.host, block, &mut extra);
        let wire: Vec<u8> = block
            .fields()
            .chain(extra.fields())
            .flat_map(|f| f.wire.iter().copied())
            .collect();
        let Some(conn) = self.conns.get_mut(call.client.conn) else {
            return;
        };
        let max = conn.peer.max_frame as usize;
        frame::headers(&mut conn.out, call.client.stream, &wire, end, max);
        call.client.sent_all = end;
        self.dirty.push(call.client.conn);
    }

    /// Ends a call with an answer of the host's, or with trailers where one has begun.
    pub(super) fn refuse(&mut self, id: Id, block: &Block) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let wire: Vec<u8> = block
            .fields()
            .flat_map(|f| f.wire.iter().copied())
            .collect();
        if call.phase == Phase::Answered {
            call.client.end = End::Trailers(wire);
            self.flush_client(id);
            return self.settle(id);
        }
        if let Some(conn) = self.conns.get_mut(call.client.conn) {
            let max = conn.peer.max_frame as usize;
            frame::headers(&mut conn.out, call.client.stream, &wire, true, max);
            call.client.sent_all = true;
        }
        self.finish(id, Ended::Refused);
    }

    /// An answer that has begun cannot go on: what has come is delivered, then the host's trailers.
    pub(super) fn break_off(&mut self, id: Id, cause: Cause) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.broken = Some(cause);
        let block = self.host.broken(&mut call.host, cause);
        let wire = block
            .fields()
            .flat_map(|f| f.wire.iter().copied())
            .collect();
        call.client.end = End::Trailers(wire);
        self.flush_client(id);
        self.settle(id);
    }
}
