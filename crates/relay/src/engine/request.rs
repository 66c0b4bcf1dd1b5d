//! How a client's request comes in.

use crate::{
    call::{Call, Phase, Request},
    conn::{Closed, Drain},
    engine::{
        Engine,
        invariant::{EVENT, STEP, STREAM},
    },
    frame::ErrorCode,
    half::Half,
    host::{Cause, Host, Verdict},
    hpack::{Block, Token},
    message::{Received, Summary},
    parser::ConnectionError,
    slab::Id,
};

/// Room for the body of a small call, behind its header block.
const SMALL: usize = 256;

impl<H: Host> Engine<H> {
    /// A header block on a stream that has no call.
    pub(super) fn request(
        &mut self,
        id: Id,
        stream: u32,
        received: Received<'_>,
        depends_on: Option<u32>,
    ) -> Result<(), ConnectionError> {
        let Received { block, end, .. } = received;
        let config = &self.config;
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        if stream.is_multiple_of(2) {
            let reason = "a client's stream has an even number";
            return Err(ConnectionError::protocol(reason));
        }
        if stream <= conn.stream {
            return match conn.recall(stream) {
                Some(Closed::Reset) => conn.glitch(self.now),
                Some(Closed::Ended) => {
                    let reason = "HEADERS on a closed stream";
                    Err(ConnectionError::new(ErrorCode::StreamClosed, reason))
                }
                None => {
                    let reason = "streams are not in ascending order";
                    Err(ConnectionError::protocol(reason))
                }
            };
        }
        conn.stream = stream;
        let full = conn.streams.len() >= config.clients.max_streams as usize;
        if conn.draining == Drain::Final || full {
            conn.reset(stream, ErrorCode::RefusedStream);
            return conn.glitch(self.now);
        }
        if block.is_truncated() {
            // It has cost no more than its bytes, and only itself.
            let answer = self.host.headers_too_large(id, block);
            conn.headers(stream, &[answer.wire()], true);
            if end {
                conn.remember(stream, Closed::Ended);
            } else {
                conn.reset(stream, ErrorCode::NoError);
            }
            return Ok(());
        }
        let checked = received.checked.filter(|_| depends_on != Some(stream));
        let Some(summary) = checked.filter(|s| !end || s.content_length.unwrap_or(0) == 0) else {
            conn.reset(stream, ErrorCode::ProtocolError);
            return conn.glitch(self.now);
        };
        let mut client = Half::new(id, stream, conn.peer.window, config.clients.window);
        client.got_all = end;
        self.begin(client, block, summary, end);
        Ok(())
    }

    fn begin(&mut self, client: Half, block: &Block, summary: Summary, end: bool) {
        let (conn, stream) = (client.conn, client.stream);
        let timeout = block.get(Token::GrpcTimeout);
        let timeout = timeout.and_then(|field| crate::timeout::read(field.value));
        let deadline = timeout.and_then(|timeout| self.now.checked_add(timeout));
        let memory = self.spare.pop();
        let memory = memory.unwrap_or_else(|| Vec::with_capacity(block.wire().len() + SMALL));
        // The host wants the call's id, and the call is made with what the host keeps: the slot is
        // taken by whichever call comes first, so ask with a reserved one.
        let id = self.calls.reserve();
        let (host, verdict) = self.host.on_request(id, conn, block, end);
        let mut request = Request::new(memory, block, summary, |field| {
            self.host.forwards_field(&host, field)
        });
        request.ended = end;
        let call = Call {
            host,
            phase: Phase::Routing,
            client,
            upstream: None,
            to: None,
            request,
            deadline,
            status: None,
            broken: None,
            length: None,
            grpc: summary.grpc,
            begun: self.now,
            counted: 0,
        };
        self.calls.fill(id, call);
        if let Some(conn) = self.conns.expected(conn, EVENT) {
            conn.streams.insert(stream, id);
        }
        if let Some(deadline) = deadline {
            self.set_timer(deadline, id);
        }
        self.apply(id, verdict);
        self.enforce_limit(id);
    }

    pub(super) fn request_trailers(
        &mut self,
        id: Id,
        stream: u32,
        call_id: Id,
        received: Received<'_>,
    ) {
        let Received { block, end, .. } = received;
        let Some(call) = self.calls.expected(call_id, STREAM) else {
            return;
        };
        if call.client.got_all {
            return self.stream_error(id, stream, call_id, ErrorCode::StreamClosed);
        }
        if block.is_truncated() {
            call.client.got_all |= end;
            return self.upstream_ended(call_id, false, Cause::LargeRequest);
        }
        let short = call.request.length.is_some_and(|left| left > 0);
        if !end || short || received.checked.is_none() {
            return self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
        }
        call.request.trailers = Some(block.wire().to_vec());
        self.request_bytes(call_id, &[], true);
    }

    /// Bytes of a request, which the host inspects before they go on.
    pub(super) fn request_bytes(&mut self, id: Id, bytes: &[u8], last: bool) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        call.client.got_all |= last;
        call.request.ended |= last;
        let verdict = self.host.on_request_data(&mut call.host, bytes, last);
        match (call.phase, verdict) {
            (_, Verdict::Refuse(block)) => self.refuse(id, &block),
            (Phase::Sent | Phase::Answered, _) => self.forward_request(id, bytes),
            (phase, verdict) => {
                // What waits for its route is kept whole: the host limits how long it may read.
                call.request.push(bytes);
                if phase != Phase::Routing {
                    return self.enforce_limit(id);
                }
                {
                    let due = bytes.len();
                    call.request.credited += due;
                    let credit = call.client.release(due);
                    let (conn, stream) = (call.client.conn, call.client.stream);
                    self.credit(conn, stream, credit);
                    self.apply(id, verdict);
                    self.enforce_limit(id);
                }
            }
        }
    }
}
