//! Bytes from one side of a call to the other: as far as the windows and the output allow, the rest
//! waits in the side that is slow.

use super::buffers::BufferPool;
use crate::{
    call::{Call, Phase},
    conn::Conn,
    engine::{
        Engine,
        invariant::{CONNECTION, STEP},
    },
    half::{End, Half},
    host::{Ended, Host},
    slab::{Id, Slab},
};

/// What a flush came to.
pub(super) struct Flushed {
    /// Bytes that went out.
    bytes: usize,
    /// Whether bytes are left that wait for the connection, and not for the stream's window.
    waits: bool,
}

impl<H: Host> Engine<H> {
    /// Bytes of a request, to the instance.
    pub(super) fn forward_request(&mut self, id: Id, bytes: &[u8]) {
        let (limit, max_output) = (self.config.replay, self.max_output());
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        if call.phase == Phase::Sent {
            let fits = call.request.keep(bytes, limit);
            if !fits {
                drop(call.request.forget());
            }
        }
        let Some(half) = &mut call.upstream else {
            // The answer is complete, and the rest of the request is of no use.
            self.credit_client(id, bytes.len());
            return;
        };
        if call.request.ended {
            // Another attempt needs them again.
            let trailers = call.request.trailers.clone();
            half.end = trailers.map_or(End::Bare, End::Trailers);
        }
        let conn = half.conn;
        let flushed = transfer(half, &mut self.conns, &mut self.buffers, bytes, max_output);
        self.sent_upstream(id, conn, &flushed);
        self.enforce_limit(id);
    }

    /// Bytes of an answer, to the client.
    pub(super) fn forward_answer(&mut self, id: Id, bytes: &[u8]) {
        let max_output = self.max_output();
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let conn = call.client.conn;
        let flushed = transfer(
            &mut call.client,
            &mut self.conns,
            &mut self.buffers,
            bytes,
            max_output,
        );
        self.sent_to_client(id, conn, &flushed);
        self.enforce_limit(id);
    }

    /// What waits for one of the sides goes on; then the call may be over.
    pub(super) fn flush(&mut self, id: Id, conn: Id) {
        let max_output = self.max_output();
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        if call.client.conn == conn {
            self.forward_answer(id, &[]);
        } else if let Some(half) = call.upstream.as_mut().filter(|half| half.conn == conn) {
            let flushed = transfer(half, &mut self.conns, &mut self.buffers, &[], max_output);
            self.sent_upstream(id, conn, &flushed);
            self.account(id);
        }
        self.finish_if_done(id);
    }

    /// The calls that wait for a connection's window or output go on, in turn.
    pub(super) fn unblock(&mut self, id: Id) {
        let blocked = self.conns.get(id).map_or(0, |conn| conn.blocked.len());
        let max_output = self.max_output();
        for _ in 0..blocked {
            let Some(conn) = self.conns.expected(id, CONNECTION) else {
                return;
            };
            if conn.send_window <= 0 || conn.output().len() >= max_output {
                return;
            }
            let Some(call_id) = conn.blocked.pop_front() else {
                return;
            };
            if let Some(half) = self.calls.get_mut(call_id).and_then(|call| call.half(id)) {
                half.queued = false;
                self.flush(call_id, id);
            }
        }
    }

    /// Forgets the blocked calls of a connection that are over, when they are many.
    fn prune_blocked(&mut self, id: Id) {
        let calls = &mut self.calls;
        if let Some(conn) = self.conns.get_mut(id)
            && conn.blocked.len() > 2 * conn.streams.len() + 64
        {
            let mut queued = |call: Id| calls.get_mut(call)?.half(id).map(|half| half.queued);
            conn.blocked.retain(|call| queued(*call).unwrap_or(false));
        }
    }

    pub(super) fn sent_upstream(&mut self, id: Id, conn: Id, flushed: &Flushed) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let due = call.request.sent(flushed.bytes);
        if flushed.waits {
            enqueue(call.upstream.as_mut(), self.conns.get_mut(conn), id);
            self.prune_blocked(conn);
        }
        self.mark_dirty(conn);
        self.credit_client(id, due);
    }

    fn credit_client(&mut self, id: Id, bytes: usize) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let credit = call.client.release(bytes);
        let (conn, stream) = (call.client.conn, call.client.stream);
        self.credit(conn, stream, credit);
    }

    fn sent_to_client(&mut self, id: Id, conn: Id, flushed: &Flushed) {
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        if flushed.waits {
            enqueue(Some(&mut call.client), self.conns.get_mut(conn), id);
            self.prune_blocked(conn);
        }
        if flushed.bytes > 0
            && let Some(conn) = self.conns.get_mut(conn)
        {
            conn.useful_frame();
        }
        self.mark_dirty(conn);
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        if let Some(half) = &mut call.upstream {
            let credit = half.release(flushed.bytes);
            let (conn, stream) = (half.conn, half.stream);
            self.credit(conn, stream, credit);
        }
    }

    /// Whether a call is over, or its instance's side is.
    pub(super) fn finish_if_done(&mut self, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.client.sent_all {
            let ended = match call.broken {
                Some(cause) => Ended::Broken(cause),
                None => Ended::Answered(call.status),
            };
            return self.finish(id, ended);
        }
        let Call {
            upstream: Some(half),
            ..
        } = call
        else {
            return;
        };
        if half.got_all {
            // The slot is free for another call, however slowly this client reads.
            self.drop_upstream(id);
        }
    }
}

fn enqueue(half: Option<&mut Half>, conn: Option<&mut Conn>, id: Id) {
    if let (Some(half), Some(conn)) = (half, conn)
        && !std::mem::replace(&mut half.queued, true)
    {
        conn.blocked.push_back(id);
    }
}

/// Writes what the windows and the output allow, and keeps the rest.
pub(super) fn transfer(
    half: &mut Half,
    conns: &mut Slab<Conn>,
    buffers: &mut BufferPool,
    bytes: &[u8],
    max_output: usize,
) -> Flushed {
    let Some(conn) = conns.get_mut(half.conn).filter(|_| !half.sent_all) else {
        return Flushed {
            bytes: bytes.len(),
            waits: false,
        };
    };
    let mut direct = bytes;
    if !half.pending.is_empty() {
        half.pending.push(bytes);
        direct = &[];
    }
    buffers.lend(conn, half.pending.len() + direct.len());
    let mut sent = 0;
    loop {
        let waiting = half.pending.len() + direct.len();
        if waiting == 0 {
            break;
        }
        let room = half.send_window.min(conn.send_window).max(0);
        let most = usize::try_from(room)
            .unwrap_or(0)
            .min(conn.peer.max_frame as usize);
        let length = waiting.min(most);
        if length == 0 || conn.output().len() >= max_output {
            half.pending.push(direct);
            return Flushed {
                bytes: sent,
                waits: half.send_window > 0,
            };
        }
        let last = length == waiting && half.end == End::Bare;
        if half.pending.is_empty() {
            let (now, later) = direct.split_at(length);
            conn.data(half.stream, now, last);
            direct = later;
        } else {
            conn.data(half.stream, half.pending.front(length), last);
            half.pending.take(length);
        }
        half.send_window -= length as i64;
        conn.send_window -= length as i64;
        sent += length;
        half.sent_all = last;
    }
    if !half.sent_all {
        match &half.end {
            End::Open => {}
            End::Bare => {
                conn.data(half.stream, &[], true);
                half.sent_all = true;
            }
            End::Trailers(block) => {
                conn.headers(half.stream, &[block], true);
                half.sent_all = true;
            }
        }
    }
    Flushed {
        bytes: sent,
        waits: false,
    }
}
