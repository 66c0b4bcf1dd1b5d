//! How an answer reaches the client, from an instance or from the host.

use crate::{
    call::Phase,
    engine::{
        Engine,
        invariant::{CONNECTION, STEP, STREAM},
    },
    frame::ErrorCode,
    half::End,
    host::{Cause, Ended, Host},
    hpack::Block,
    message::{MessageKind, Received},
    slab::Id,
};

impl<H: Host> Engine<H> {
    /// A header block of an instance: an answer begins, or ends with trailers.
    pub(super) fn response(&mut self, id: Id, stream: u32, call_id: Id, received: Received<'_>) {
        let Some(call) = self.calls.expected(call_id, STREAM) else {
            return;
        };
        let Received { block, end, .. } = received;
        let trailers = received.kind == MessageKind::Trailers;
        let got_all = call.upstream.as_ref().is_none_or(|half| half.got_all);
        let client = self.conns.get(call.client.conn);
        let most = client.map_or(u32::MAX, |conn| conn.peer.max_header_list);
        if !got_all && (block.is_truncated() || block.size() >= most as usize) {
            // Neither the connection nor the instance is at fault. Some clients close their connection
            // for a larger list than they take, and lose their other calls.
            if end && let Some(half) = &mut call.upstream {
                half.got_all = true;
            }
            let cause = if block.is_truncated() {
                Cause::LargeAnswer
            } else {
                Cause::LargeForClient(most)
            };
            return self.upstream_ended(call_id, false, cause);
        }
        let checked = received.checked.filter(|_| !got_all);
        let short = trailers && call.length.is_some_and(|left| left > 0);
        let Some(summary) = checked.filter(|_| !short) else {
            return self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
        };
        if summary.interim && !end {
            // gRPC does not use interim answers.
            return;
        }
        if trailers && !end || summary.interim {
            return self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
        }
        if end && let Some(half) = &mut call.upstream {
            half.got_all = true;
        }
        if let Some(status) = summary.http.filter(|_| !trailers && call.grpc) {
            return self.attempt_failed(call_id, false, Cause::Http(status));
        }
        let whole = call.request.whole;
        if !trailers
            && !self
                .host
                .accepts_response(&mut call.host, block, end, whole)
        {
            return self.attempt_failed(call_id, false, Cause::Declined);
        }
        if summary.grpc_status.is_some() {
            call.status = summary.grpc_status;
        }
        if trailers {
            self.host.on_trailers(&mut call.host, block);
            if block.has_mesh_fields() {
                let own = block.without_mesh(|field| self.host.returns_field(&call.host, field));
                self.end_answer(call_id, &own);
            } else {
                self.end_answer(call_id, block);
            }
        } else {
            call.length = summary.content_length.filter(|_| !end);
            self.answer(call_id, block, end);
        }
        self.finish_if_done(call_id);
    }

    /// The headers of an instance's answer.
    fn answer(&mut self, id: Id, block: &Block, end: bool) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        call.phase = Phase::Answered;
        let memory = call.request.forget();
        self.extra.clear();
        self.host
            .on_response(&mut call.host, block, &mut self.extra);
        let Some(conn) = self.conns.expected(call.client.conn, CONNECTION) else {
            return;
        };
        let own;
        let wire = if block.has_mesh_fields() {
            own = block.without_mesh(|field| self.host.returns_field(&call.host, field));
            own.wire()
        } else {
            block.wire()
        };
        conn.headers(call.client.stream, &[wire, self.extra.wire()], end);
        conn.useful_frame();
        call.client.sent_all = end;
        let client = call.client.conn;
        self.mark_dirty(client);
        self.recycle(memory);
        self.account(id);
    }

    /// Ends a call with the host's answer, or with trailers if an answer has begun.
    pub(super) fn refuse(&mut self, id: Id, block: &Block) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.end_answer(id, block);
            return self.finish_if_done(id);
        }
        if let Some(conn) = self.conns.expected(call.client.conn, CONNECTION) {
            conn.headers(call.client.stream, &[block.wire()], true);
            call.client.sent_all = true;
        }
        self.finish(id, Ended::Refused);
    }

    /// Ends an answer that breaks off: what has come is delivered, then the host's trailers.
    pub(super) fn abort_response(&mut self, id: Id, cause: Cause) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.broken = Some(cause);
        let block = self.host.response_aborted(&mut call.host, cause);
        self.end_answer(id, &block);
        self.finish_if_done(id);
    }

    /// Ends an answer with trailers, at once if no bytes wait before them.
    fn end_answer(&mut self, id: Id, trailers: &Block) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let open = !call.client.sent_all && call.client.pending.is_empty();
        if let Some(conn) = self.conns.get_mut(call.client.conn).filter(|_| open) {
            conn.headers(call.client.stream, &[trailers.wire()], true);
            call.client.sent_all = true;
            let client = call.client.conn;
            self.mark_dirty(client);
        } else {
            call.client.end = End::Trailers(trailers.wire().to_vec());
        }
    }
}
