//! Frames of a connection but for headers and bodies.

use std::time::Duration;

use crate::{
    call::Phase,
    conn::{Closed, Side},
    engine::{
        Engine,
        invariant::{EVENT, STREAM},
    },
    frame::{self, ErrorCode},
    host::{Cause, Ended, Host},
    parser::ConnectionError,
    settings::{MAX_WINDOW, Settings},
    slab::Id,
};

/// The most streams that a new connection begins with, whatever the last one allowed.
const STREAMS_AT_MOST: u32 = 1000;

/// The open calls for which a change of the initial window counts as one more event of work, and as
/// one more glitch. A decent client changes its window a few times, an attacker all the time.
const CALLS_A_STEP: usize = 16;
const CALLS_A_FRAME: usize = 64;

/// A call that its client gives up unanswered before this time is a wasted one. Deadlines are longer
/// as a rule, and the limit of streams bounds them.
const RAPID: Duration = Duration::from_secs(1);

impl<H: Host> Engine<H> {
    pub(super) fn reset(&mut self, id: Id, stream: u32, code: u32) -> Result<(), ConnectionError> {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        if conn.is_idle(stream) {
            return Err(ConnectionError::protocol("RST_STREAM on an idle stream"));
        }
        let (side, to) = (conn.side, conn.to);
        let Some(call_id) = conn.streams.remove(&stream) else {
            return conn.glitch(self.now);
        };
        conn.remember(stream, Closed::Ended);
        if side == Side::Client {
            let outcome = self.given_up(id, call_id);
            self.finish(call_id, Ended::Cancelled);
            outcome?;
        } else {
            if let Some(to) = to {
                self.send_waiting(to);
            }
            let unsent = code == ErrorCode::RefusedStream as u32;
            self.upstream_ended(call_id, unsent, Cause::Reset(code));
        }
        Ok(())
    }

    /// A stream that is opened and at once reset costs an instance its work (rapid reset).
    fn given_up(&mut self, id: Id, call: Id) -> Result<(), ConnectionError> {
        let now = self.now;
        let rapid = self.calls.get(call).is_some_and(|call| {
            call.phase != Phase::Answered && now.saturating_duration_since(call.begun) < RAPID
        });
        match self.conns.get_mut(id).filter(|_| rapid) {
            Some(conn) => conn.wasted_call(now),
            None => Ok(()),
        }
    }

    pub(super) fn settings(&mut self, id: Id, settings: Settings) -> Result<(), ConnectionError> {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        let change = i64::from(settings.window) - i64::from(conn.peer.window);
        // A few bytes that touch all of the peer's calls are not cheap.
        let calls = if change == 0 { 0 } else { conn.streams.len() };
        self.work += calls / CALLS_A_STEP;
        let cost = u32::try_from(1 + calls / CALLS_A_FRAME).unwrap_or(u32::MAX);
        conn.glitches(cost, self.now)?;
        frame::settings_ack(&mut conn.out);
        conn.settings_received = true;
        conn.peer = settings;
        let to = conn.to;
        let calls: Vec<Id> = conn.streams.values().copied().take(calls).collect();
        for call_id in calls {
            let Some(half) = self.calls.get_mut(call_id).and_then(|call| call.half(id)) else {
                continue;
            };
            half.send_window += change;
            if half.send_window > MAX_WINDOW.into() {
                return Err(ConnectionError::flow_control(
                    "SETTINGS makes a window too large",
                ));
            }
            if !half.pending.is_empty() {
                self.flush(call_id, id);
            }
        }
        if let Some(to) = to {
            if let Some(pool) = self.pools.get_mut(&to) {
                // A limit of 0 is temporary: a new connection does not begin with it.
                pool.max_header_list = settings.max_header_list;
                pool.max_streams = settings.max_streams.clamp(1, STREAMS_AT_MOST);
            }
            self.send_waiting(to);
        }
        Ok(())
    }

    pub(super) fn going_away(&mut self, id: Id, last: u32) {
        let Some(conn) = self.conns.expected(id, EVENT) else {
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
        let to = conn.to;
        for (stream, call) in unprocessed {
            if let Some(conn) = self.conns.expected(id, EVENT) {
                conn.streams.remove(&stream);
                conn.remember(stream, Closed::Reset);
            }
            self.upstream_ended(call, true, Cause::Lost);
        }
        if let Some(to) = to {
            self.send_waiting(to);
        }
    }

    pub(super) fn window_update(
        &mut self,
        id: Id,
        stream: u32,
        credit: u32,
    ) -> Result<(), ConnectionError> {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        let too_much = ConnectionError::flow_control("a window is too large");
        if stream == 0 {
            if credit == 0 {
                return Err(ConnectionError::protocol("a WINDOW_UPDATE of nothing"));
            }
            conn.send_window += i64::from(credit);
            if conn.send_window > MAX_WINDOW.into() {
                return Err(too_much);
            }
            self.unblock(id);
            return Ok(());
        }
        if conn.is_idle(stream) {
            return Err(ConnectionError::protocol("WINDOW_UPDATE on an idle stream"));
        }
        let Some(call_id) = self.call_of(id, stream) else {
            return self.glitch(id);
        };
        let Some(half) = self
            .calls
            .expected(call_id, STREAM)
            .and_then(|call| call.half(id))
        else {
            return Ok(());
        };
        half.send_window += i64::from(credit);
        let idle = half.pending.is_empty();
        if credit == 0 {
            self.stream_error(id, stream, call_id, ErrorCode::ProtocolError);
        } else if half.send_window > MAX_WINDOW.into() {
            self.stream_error(id, stream, call_id, ErrorCode::FlowControlError);
        } else if !idle {
            self.flush(call_id, id);
        }
        Ok(())
    }

    pub(super) fn priority(
        &mut self,
        id: Id,
        stream: u32,
        valid: Result<(), ErrorCode>,
    ) -> Result<(), ConnectionError> {
        let call = self.call_of(id, stream);
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return Ok(());
        };
        conn.glitch(self.now)?;
        match (valid, call) {
            (Ok(()), _) => {}
            (Err(code), Some(call)) => self.stream_error(id, stream, call, code),
            (Err(code), None) => conn.reset(stream, code),
        }
        Ok(())
    }

    /// An error on one stream ends that stream only.
    pub(super) fn stream_error(&mut self, id: Id, stream: u32, call: Id, code: ErrorCode) {
        let Some(conn) = self.conns.expected(id, EVENT) else {
            return;
        };
        let (side, to) = (conn.side, conn.to);
        if conn.streams.remove(&stream).is_some() {
            conn.reset(stream, code);
        }
        match side {
            Side::Client => {
                // A client that makes us reset its streams costs as much as one that resets them.
                let outcome = self.given_up(id, call);
                self.finish(call, Ended::Cancelled);
                if let (Err(error), Some(conn)) = (outcome, self.conns.get_mut(id)) {
                    conn.fail(error);
                    self.connection_lost(id);
                }
            }
            Side::Upstream => {
                if let Some(to) = to {
                    self.send_waiting(to);
                }
                self.upstream_ended(call, false, Cause::Malformed(code));
            }
        }
    }
}
