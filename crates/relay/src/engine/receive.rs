//! What a connection says, step by step: streams.

use crate::{
    call::{Phase, count},
    conn::{Closed, Drain, Side},
    engine::{
        Engine,
        invariant::{EVENT, STREAM},
    },
    frame::{self, ErrorCode},
    half::End,
    host::Host,
    message::{MessageKind, Received},
    parser::{ConnectionError, Event},
    slab::Id,
};

impl<H: Host> Engine<H> {
    pub(super) fn on_event(&mut self, id: Id, event: Event<'_>) -> Result<(), ConnectionError> {
        match event {
            Event::Preface => {
                if let Some(conn) = self.conns.expected(id, EVENT) {
                    conn.send_preface();
                }
                Ok(())
            }
            Event::Headers {
                stream,
                end_stream,
                depends_on,
            } => self.headers(id, stream, end_stream, depends_on),
            Event::DataBegin {
                stream,
                length,
                padding,
                end_stream,
            } => self.data_begins(id, stream, length, padding, end_stream),
            Event::Data {
                stream,
                bytes,
                last,
            } => {
                self.data(id, stream, bytes, last);
                Ok(())
            }
            Event::DataEnd { stream, end_stream } => {
                if end_stream {
                    self.data(id, stream, &[], true);
                }
                Ok(())
            }
            Event::Reset { stream, code } => self.reset(id, stream, code),
            Event::Settings(settings) => self.settings(id, settings),
            Event::Ping(payload) => {
                let Some(conn) = self.conns.expected(id, EVENT) else {
                    return Ok(());
                };
                frame::pong(&mut conn.out, payload);
                conn.glitch(self.now)
            }
            Event::SettingsAck => {
                let Some(conn) = self.conns.expected(id, EVENT) else {
                    return Ok(());
                };
                if !conn.acknowledged() {
                    return conn.glitch(self.now);
                }
                if let Some(to) = conn.to {
                    self.send_waiting(to);
                }
                Ok(())
            }
            Event::Unknown => self.glitch(id),
            Event::Pong => {
                // The client has read of our leaving: what it opens from now on is refused.
                if let Some(conn) = self.conns.expected(id, EVENT)
                    && conn.draining == Drain::Announced
                {
                    conn.drain();
                    return Ok(());
                }
                self.glitch(id)
            }
            Event::GoAway { last, .. } => {
                self.going_away(id, last);
                self.glitch(id)
            }
            Event::WindowUpdate { stream, credit } => self.window_update(id, stream, credit),
            Event::Priority { stream, valid } => self.priority(id, stream, valid),
        }
    }

    /// A frame that brings no call further, whatever it says.
    pub(super) fn glitch(&mut self, id: Id) -> Result<(), ConnectionError> {
        let conn = self.conns.expected(id, EVENT);
        conn.map_or(Ok(()), |conn| conn.glitch(self.now))
    }

    pub(super) fn call_of(&self, conn: Id, stream: u32) -> Option<Id> {
        self.conns.get(conn)?.streams.get(&stream).copied()
    }

    /// A frame for a stream that has no call: what that means depends on how it ended. Bytes that
    /// were under way when we reset it are no fault of the peer's, however small their frames.
    fn frame_without_call(
        &mut self,
        id: Id,
        stream: u32,
        bytes: usize,
    ) -> Result<(), ConnectionError> {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        if conn.is_idle(stream) {
            return Err(ConnectionError::protocol("a frame for an idle stream"));
        }
        let ended = conn.recall(stream) == Some(Closed::Ended);
        if ended || bytes == 0 {
            conn.glitch(self.now)?;
        }
        if ended {
            conn.reset(stream, ErrorCode::StreamClosed);
        }
        Ok(())
    }

    fn headers(
        &mut self,
        id: Id,
        stream: u32,
        end: bool,
        depends_on: Option<u32>,
    ) -> Result<(), ConnectionError> {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        let call = conn.streams.get(&stream).copied();
        let phase = call.and_then(|call| self.calls.get(call)).map(|c| c.phase);
        let kind = match (conn.side, call, phase) {
            (Side::Client, None, _) => MessageKind::Request,
            (Side::Client, ..) | (_, _, Some(Phase::Answered)) => MessageKind::Trailers,
            (Side::Upstream, ..) => MessageKind::Response,
        };
        let checked = conn.parser.check_block(kind);
        // The block keeps its memory: it is lent out while the call is looked at.
        let block = conn.parser.take_block();
        let received = Received {
            block: &block,
            kind,
            checked,
            end,
        };
        let outcome = match (call, conn.side) {
            (Some(call), _) if depends_on == Some(stream) => {
                self.stream_error(id, stream, call, ErrorCode::ProtocolError);
                Ok(())
            }
            (Some(call), Side::Client) => {
                self.request_trailers(id, stream, call, received);
                Ok(())
            }
            (Some(call), Side::Upstream) => {
                self.response(id, stream, call, received);
                Ok(())
            }
            (None, Side::Client) => self.request(id, stream, received, depends_on),
            (None, Side::Upstream) => self.frame_without_call(id, stream, 0),
        };
        if let Some(conn) = self.conns.expected(id, EVENT) {
            conn.parser.restore(block);
        }
        outcome
    }

    fn data_begins(
        &mut self,
        id: Id,
        stream: u32,
        length: usize,
        padding: usize,
        end: bool,
    ) -> Result<(), ConnectionError> {
        let connection = self.config.connection_window;
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        conn.received(length, connection)?;
        let Some(call_id) = conn.streams.get(&stream).copied() else {
            return self.frame_without_call(id, stream, length - padding);
        };
        // An empty frame that ends nothing costs its sender nothing.
        if length == padding && !end {
            conn.glitch(self.now)?;
        } else if length > padding {
            conn.useful_frame();
        }
        let Some(half) = self
            .calls
            .expected(call_id, STREAM)
            .and_then(|call| call.half(id))
        else {
            return Ok(());
        };
        if half.got_all {
            self.stream_error(id, stream, call_id, ErrorCode::StreamClosed);
        } else if !half.received(length) {
            self.stream_error(id, stream, call_id, ErrorCode::FlowControlError);
        } else {
            let credit = half.release(padding);
            self.credit(id, stream, credit);
        }
        Ok(())
    }

    fn data(&mut self, id: Id, stream: u32, bytes: &[u8], last: bool) {
        let Some(call_id) = self.call_of(id, stream) else {
            return;
        };
        let Some(call) = self.calls.expected(call_id, STREAM) else {
            return;
        };
        if call.client.conn == id {
            if call.client.got_all {
                return;
            }
            let counted = count(&mut call.request.length, bytes.len());
            if !counted || (last && call.request.length.is_some_and(|left| left > 0)) {
                return self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
            }
            return self.request_bytes(call_id, bytes, last);
        }
        let Some(half) = call.upstream.as_mut().filter(|half| !half.got_all) else {
            return;
        };
        let counted = count(&mut call.length, bytes.len());
        let short = last && call.length.is_some_and(|left| left > 0);
        if call.phase != Phase::Answered || !counted || short {
            return self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
        }
        half.got_all = last;
        if last {
            call.client.end = End::Bare;
        }
        self.host.on_response_data(&mut call.host);
        self.forward_answer(call_id, bytes);
        self.finish_if_done(call_id);
    }

    /// Gives a peer credit on a stream.
    pub(super) fn credit(&mut self, id: Id, stream: u32, credit: u32) {
        if credit > 0
            && let Some(conn) = self.conns.get_mut(id)
        {
            frame::window_update(&mut conn.out, stream, credit);
            self.mark_dirty(id);
        }
    }
}
