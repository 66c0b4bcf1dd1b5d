//! How connections are lost and calls end.

use crate::{
    call::Phase,
    conn::{Closed, Side},
    engine::{Engine, invariant::CONNECTION},
    frame::ErrorCode,
    host::{Cause, Ended, Host},
    slab::Id,
};

impl<H: Host> Engine<H> {
    /// A connection is gone: its calls end, or are sent elsewhere.
    pub(super) fn connection_lost(&mut self, id: Id) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let (side, to) = (conn.side, conn.to);
        // A peer that has not sent SETTINGS has not processed a call.
        let unsent = !conn.settings_received;
        let calls: Vec<Id> = conn.streams.drain().map(|(_, call)| call).collect();
        if let Some(pool) = to.and_then(|to| self.pools.get_mut(&to)) {
            pool.conns.retain(|conn| *conn != id);
        }
        for call in calls {
            match side {
                Side::Client => self.finish(call, Ended::Cancelled),
                Side::Upstream => self.upstream_ended(call, unsent, Cause::Lost),
            }
        }
        if let Some(to) = to {
            self.send_waiting(to);
        }
        self.mark_dirty(id);
    }

    /// The instance's side of a call ended without a whole answer.
    pub(super) fn upstream_ended(&mut self, id: Id, unsent: bool, cause: Cause) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.abort_response(id, cause);
        } else {
            self.attempt_failed(id, unsent, cause);
        }
    }

    /// Removes the instance's side of a call, and resets its stream if that is open.
    pub(super) fn drop_upstream(&mut self, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let answered = call.phase == Phase::Answered;
        let Some(half) = call.upstream.take() else {
            return;
        };
        self.account(id);
        let Some(conn) = self.conns.expected(half.conn, CONNECTION) else {
            return;
        };
        if conn.streams.remove(&half.stream).is_some() {
            if half.sent_all && half.got_all {
                conn.remember(half.stream, Closed::Ended);
            } else if answered {
                conn.reset(half.stream, ErrorCode::Cancel);
            } else {
                conn.cancel(half.stream);
            }
        }
        let to = conn.to;
        self.mark_dirty(half.conn);
        if let Some(to) = to {
            self.send_waiting(to);
        }
    }

    /// A call is over: both its streams are closed, and the host is told.
    pub(super) fn finish(&mut self, id: Id, ended: Ended) {
        self.drop_upstream(id);
        let Some(mut call) = self.calls.remove(id) else {
            return;
        };
        self.recycle(call.request.forget());
        self.memory -= call.counted;
        let (conn_id, stream) = (call.client.conn, call.client.stream);
        if let Some(conn) = self.conns.expected(conn_id, CONNECTION) {
            conn.buffered -= call.counted;
            if let Ended::Answered(_) = ended {
                conn.answered_call();
            }
            if conn.streams.remove(&stream).is_some() {
                if !call.client.sent_all {
                    conn.reset(stream, ErrorCode::InternalError);
                } else if !call.client.got_all {
                    // An early answer: the rest of the request is not needed (RFC 9113, 8.1).
                    conn.reset(stream, ErrorCode::NoError);
                } else {
                    conn.remember(stream, Closed::Ended);
                }
            }
            self.mark_dirty(conn_id);
        }
        self.host.on_end(call.host, ended);
    }
}
