//! What a connection says, step by step.

use crate::{
    call::{Call, Phase, Request, count},
    conn::Side,
    engine::Engine,
    frame::{self, Code},
    half::{End, Half},
    host::{Cause, Ended, Host, Verdict},
    hpack::{Block, Token},
    message::{self, Kind, Summary},
    parser::{Fatal, Step},
    settings::{MAX_WINDOW, Settings},
    slab::Id,
};

impl<H: Host> Engine<H> {
    pub(super) fn step(&mut self, id: Id, step: Step<'_>) -> Result<(), Fatal> {
        match step {
            Step::Headers {
                stream,
                end_stream,
                depends_on,
            } => self.headers(id, stream, end_stream, depends_on),
            Step::DataBegin {
                stream,
                length,
                padding,
            } => self.data_begins(id, stream, length, padding),
            Step::Data {
                stream,
                bytes,
                last,
            } => {
                self.data(id, stream, bytes, last);
                Ok(())
            }
            Step::DataEnd { stream, end_stream } => {
                if end_stream {
                    self.data(id, stream, &[], true);
                }
                Ok(())
            }
            Step::Reset { stream, code } => self.reset(id, stream, code),
            Step::Settings(settings) => self.settings(id, settings),
            Step::Ping(payload) => {
                let limit = self.config.idle_frames;
                let Some(conn) = self.conns.get_mut(id) else {
                    return Ok(());
                };
                frame::pong(&mut conn.out, payload);
                conn.idle_frame(limit)
            }
            Step::SettingsAck | Step::Pong => Ok(()),
            Step::GoAway { last, .. } => {
                self.going_away(id, last);
                Ok(())
            }
            Step::WindowUpdate { stream, credit } => self.window_update(id, stream, credit),
            Step::Priority { stream, valid } => self.priority(id, stream, valid),
        }
    }

    /// The call of a stream.
    fn call_of(&self, conn: Id, stream: u32) -> Option<Id> {
        self.conns.get(conn)?.streams.get(&stream).copied()
    }

    /// A frame for a stream that has no call: what that means depends on how it ended.
    fn orphan(&mut self, id: Id, stream: u32) -> Result<(), Fatal> {
        let limit = self.config.idle_frames;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if conn.is_idle(stream) {
            return Err(Fatal {
                code: Code::ProtocolError,
                reason: "a frame for an idle stream",
            });
        }
        conn.idle_frame(limit)?;
        if !conn.was_reset(stream) {
            conn.reset(stream, Code::StreamClosed);
        }
        Ok(())
    }

    fn headers(
        &mut self,
        id: Id,
        stream: u32,
        end: bool,
        depends_on: Option<u32>,
    ) -> Result<(), Fatal> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        // The block keeps its memory: it is lent out while the call is looked at.
        let block = conn.parser.take_block();
        let outcome = match (self.call_of(id, stream), self.conns.get(id).map(|c| c.side)) {
            (Some(call), _) if depends_on == Some(stream) => {
                self.stream_error(id, stream, call, Code::ProtocolError);
                Ok(())
            }
            (Some(call), Some(Side::Client)) => {
                self.request_trailers(id, stream, call, &block, end);
                Ok(())
            }
            (Some(call), _) => {
                self.response(id, stream, call, &block, end);
                Ok(())
            }
            (None, Some(Side::Client)) => self.request(id, stream, &block, end, depends_on),
            (None, _) => self.orphan(id, stream),
        };
        if let Some(conn) = self.conns.get_mut(id) {
            conn.parser.restore(block);
        }
        outcome
    }

    fn request(
        &mut self,
        id: Id,
        stream: u32,
        block: &Block,
        end: bool,
        depends_on: Option<u32>,
    ) -> Result<(), Fatal> {
        let config = &self.config;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if stream.is_multiple_of(2) {
            let reason = "a client's stream has an even number";
            return Err(Fatal {
                code: Code::ProtocolError,
                reason,
            });
        }
        if stream <= conn.stream {
            if conn.was_reset(stream) {
                return conn.idle_frame(config.idle_frames);
            }
            return Err(Fatal {
                code: Code::StreamClosed,
                reason: "HEADERS on a closed stream",
            });
        }
        conn.stream = stream;
        let full = conn.streams.len() >= config.settings.max_streams as usize;
        if conn.draining || full {
            conn.reset(stream, Code::RefusedStream);
            return conn.idle_frame(config.idle_frames);
        }
        let checked = message::check(block, Kind::Request);
        let summary = checked.filter(|_| block.is_truncated() || depends_on != Some(stream));
        let Some(summary) = summary.filter(|s| !end || s.content_length.unwrap_or(0) == 0) else {
            conn.reset(stream, Code::ProtocolError);
            return conn.idle_frame(config.idle_frames);
        };
        conn.useful_frame();
        let mut client = Half::new(id, stream, conn.peer.window, config.settings.window);
        client.got_all = end;
        self.begin(client, block, summary, end);
        Ok(())
    }

    fn begin(&mut self, client: Half, block: &Block, summary: Summary, end: bool) {
        let (conn, stream) = (client.conn, client.stream);
        let timeout = block
            .get(Token::GrpcTimeout)
            .and_then(|f| crate::timeout::read(f.value));
        let deadline = timeout.and_then(|timeout| self.now.checked_add(timeout));
        let mut request = Request::new(block, summary.content_length);
        request.ended = end;
        // The host wants the call's id, and the call is made with what the host keeps: the slot is
        // taken by whichever call comes first, so ask with a reserved one.
        let id = self.calls.reserve();
        let (host, verdict) = self.host.begin(id, block, end);
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
        };
        self.calls.fill(id, call);
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.streams.insert(stream, id);
        }
        if let Some(deadline) = deadline {
            self.set_timer(deadline, id);
        }
        self.follow(id, verdict);
    }

    fn request_trailers(&mut self, id: Id, stream: u32, call_id: Id, block: &Block, end: bool) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        if call.client.got_all {
            return self.stream_error(id, stream, call_id, Code::StreamClosed);
        }
        if !end || message::check(block, Kind::Trailers).is_none() {
            return self.stream_error(id, stream, call_id, Code::ProtocolError);
        }
        let wire: Vec<u8> = block
            .fields()
            .flat_map(|field| field.wire.iter().copied())
            .collect();
        call.request.trailers = Some(wire);
        self.request_bytes(call_id, &[], true);
    }

    fn response(&mut self, id: Id, stream: u32, call_id: Id, block: &Block, end: bool) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        let trailers = call.phase == Phase::Answered;
        let kind = if trailers {
            Kind::Trailers
        } else {
            Kind::Response
        };
        let got_all = call.upstream.as_ref().is_none_or(|half| half.got_all);
        let Some(summary) = message::check(block, kind).filter(|_| !got_all) else {
            return self.stream_error(id, stream, call_id, Code::ProtocolError);
        };
        if summary.interim && !end {
            // Nothing in gRPC uses them.
            return;
        }
        if trailers && !end || summary.interim {
            return self.stream_error(id, stream, call_id, Code::ProtocolError);
        }
        if summary.grpc_status.is_some() {
            call.status = summary.grpc_status;
        }
        if end && let Some(half) = &mut call.upstream {
            half.got_all = true;
        }
        if trailers {
            let wire = block
                .fields()
                .flat_map(|field| field.wire.iter().copied())
                .collect();
            call.client.end = End::Trailers(wire);
            self.flush_client(call_id);
        } else {
            call.length = summary.content_length.filter(|_| !end);
            self.answer(call_id, block, end);
        }
        self.settle(call_id);
    }

    fn data_begins(
        &mut self,
        id: Id,
        stream: u32,
        length: usize,
        padding: usize,
    ) -> Result<(), Fatal> {
        let (connection, window) = (self.config.connection_window, self.config.settings.window);
        let limit = self.config.idle_frames;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        conn.received(length, connection)?;
        // An empty frame that ends nothing costs its sender nothing.
        if length == padding {
            conn.idle_frame(limit)?
        } else {
            conn.useful_frame()
        }
        let Some(call_id) = self.call_of(id, stream) else {
            return self.orphan(id, stream);
        };
        let Some(half) = self.calls.get_mut(call_id).and_then(|call| call.half(id)) else {
            return Ok(());
        };
        if half.got_all {
            self.stream_error(id, stream, call_id, Code::StreamClosed);
        } else if !half.received(length) {
            self.stream_error(id, stream, call_id, Code::FlowControlError);
        } else {
            let credit = half.release(padding, window);
            self.credit(id, stream, credit);
        }
        Ok(())
    }

    fn data(&mut self, id: Id, stream: u32, bytes: &[u8], last: bool) {
        let Some(call_id) = self.call_of(id, stream) else {
            return;
        };
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        if call.client.conn == id {
            if call.client.got_all {
                return;
            }
            let counted = count(&mut call.request.length, bytes.len());
            if !counted || (last && call.request.length.is_some_and(|left| left > 0)) {
                return self.stream_error(id, stream, call_id, Code::ProtocolError);
            }
            return self.request_bytes(call_id, bytes, last);
        }
        let Some(half) = call.upstream.as_mut().filter(|half| !half.got_all) else {
            return;
        };
        if call.phase != Phase::Answered || !count(&mut call.length, bytes.len()) {
            return self.stream_error(id, stream, call_id, Code::ProtocolError);
        }
        half.got_all = last;
        if last {
            call.client.end = End::Bare;
        }
        self.forward_answer(call_id, bytes);
        self.settle(call_id);
    }

    /// Bytes of a request, which the host inspects before they go on.
    fn request_bytes(&mut self, id: Id, bytes: &[u8], last: bool) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.client.got_all |= last;
        call.request.ended |= last;
        let verdict = self.host.bytes(&mut call.host, bytes, last);
        match (call.phase, verdict) {
            (_, Verdict::Refuse(block)) => self.refuse(id, &block),
            (Phase::Sent | Phase::Answered, _) => self.forward_request(id, bytes),
            (phase, verdict) => {
                // What waits for its route is kept whole: the host limits how long it may read.
                call.request.body.extend_from_slice(bytes);
                if phase == Phase::Routing {
                    let due = bytes.len();
                    call.request.credited += due;
                    let credit = call.client.release(due, self.config.settings.window);
                    let (conn, stream) = (call.client.conn, call.client.stream);
                    self.credit(conn, stream, credit);
                    self.follow(id, verdict);
                }
            }
        }
    }

    fn reset(&mut self, id: Id, stream: u32, code: u32) -> Result<(), Fatal> {
        let limit = self.config.idle_frames;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if conn.is_idle(stream) {
            return Err(Fatal {
                code: Code::ProtocolError,
                reason: "RST_STREAM on an idle stream",
            });
        }
        let side = conn.side;
        if side == Side::Client {
            // A stream that is opened and reset costs an instance its work (rapid reset).
            conn.idle_frame(limit)?;
        }
        let Some(call_id) = conn.streams.remove(&stream) else {
            return Ok(());
        };
        if side == Side::Client {
            self.finish(call_id, Ended::Cancelled);
        } else {
            self.admit(id);
            let unsent = code == Code::RefusedStream as u32;
            self.upstream_ended(call_id, unsent, Cause::Reset(code));
        }
        Ok(())
    }

    fn settings(&mut self, id: Id, settings: Settings) -> Result<(), Fatal> {
        let limit = self.config.idle_frames;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        conn.idle_frame(limit)?;
        frame::settings_ack(&mut conn.out);
        let change = i64::from(settings.window) - i64::from(conn.peer.window);
        conn.peer = settings;
        let calls: Vec<Id> = conn.streams.values().copied().collect();
        for call_id in calls.into_iter().filter(|_| change != 0) {
            let Some(half) = self.calls.get_mut(call_id).and_then(|call| call.half(id)) else {
                continue;
            };
            half.send_window += change;
            if half.send_window > MAX_WINDOW.into() {
                let reason = "SETTINGS makes a window too large";
                return Err(Fatal {
                    code: Code::FlowControlError,
                    reason,
                });
            }
            self.flush(call_id, id);
        }
        self.admit(id);
        Ok(())
    }

    fn going_away(&mut self, id: Id, last: u32) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.leaving = true;
        if conn.side == Side::Client {
            return;
        }
        let unprocessed: Vec<(u32, Id)> = conn
            .streams
            .iter()
            .filter(|(s, _)| **s > last)
            .map(|(s, c)| (*s, *c))
            .collect();
        for (stream, call) in unprocessed {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.streams.remove(&stream);
            }
            self.upstream_ended(call, true, Cause::Lost);
        }
    }

    fn window_update(&mut self, id: Id, stream: u32, credit: u32) -> Result<(), Fatal> {
        let limit = self.config.idle_frames;
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        let too_much = Fatal {
            code: Code::FlowControlError,
            reason: "a window is too large",
        };
        if stream == 0 {
            if credit == 0 {
                let reason = "a WINDOW_UPDATE of nothing";
                return Err(Fatal {
                    code: Code::ProtocolError,
                    reason,
                });
            }
            conn.send_window += i64::from(credit);
            if conn.send_window > MAX_WINDOW.into() {
                return Err(too_much);
            }
            self.unblock(id);
            return Ok(());
        }
        if conn.is_idle(stream) {
            let reason = "WINDOW_UPDATE on an idle stream";
            return Err(Fatal {
                code: Code::ProtocolError,
                reason,
            });
        }
        let Some(call_id) = self.call_of(id, stream) else {
            return self
                .conns
                .get_mut(id)
                .map_or(Ok(()), |conn| conn.idle_frame(limit));
        };
        let Some(half) = self.calls.get_mut(call_id).and_then(|call| call.half(id)) else {
            return Ok(());
        };
        half.send_window += i64::from(credit);
        if credit == 0 {
            self.stream_error(id, stream, call_id, Code::ProtocolError);
        } else if half.send_window > MAX_WINDOW.into() {
            self.stream_error(id, stream, call_id, Code::FlowControlError);
        } else {
            self.flush(call_id, id);
        }
        Ok(())
    }

    fn priority(&mut self, id: Id, stream: u32, valid: Result<(), Code>) -> Result<(), Fatal> {
        let limit = self.config.idle_frames;
        let call = self.call_of(id, stream);
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        conn.idle_frame(limit)?;
        match (valid, call) {
            (Ok(()), _) => {}
            (Err(code), Some(call)) => self.stream_error(id, stream, call, code),
            (Err(code), None) => conn.reset(stream, code),
        }
        Ok(())
    }

    /// A mistake on one stream ends that stream only.
    fn stream_error(&mut self, id: Id, stream: u32, call: Id, code: Code) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let side = conn.side;
        if conn.streams.remove(&stream).is_some() {
            conn.reset(stream, code);
        }
        match side {
            Side::Client => self.finish(call, Ended::Cancelled),
            Side::Upstream => {
                self.admit(id);
                self.upstream_ended(call, false, Cause::Malformed(code));
            }
        }
    }

    /// Gives a peer credit on a stream.
    pub(super) fn credit(&mut self, conn: Id, stream: u32, credit: u32) {
        if credit > 0
            && let Some(conn) = self.conns.get_mut(conn)
        {
            frame::window_update(&mut conn.out, stream, credit);
        }
    }
}
