//! How a call gets onto a connection to the endpoint that the host has picked.

use crate::{
    call::Phase,
    conn::Side,
    engine::Engine,
    frame,
    half::{End, Half},
    host::{Cause, Ended, Endpoint, Failure, Host, Verdict},
    hpack::Block,
    slab::Id,
    timeout,
};

impl<H: Host> Engine<H> {
    /// The host has decided about a call that was parked.
    pub fn resume(&mut self, call: Id, verdict: Verdict) {
        if self
            .calls
            .get(call)
            .is_some_and(|call| call.phase == Phase::Parked)
        {
            self.follow(call, verdict);
        }
    }

    /// The connection that the host was asked for is open.
    pub fn connected(&mut self, to: Endpoint) -> Id {
        let id = self.open(Side::Upstream);
        let pool = self.pools.entry(to).or_default();
        pool.connecting = false;
        pool.conns.push(id);
        self.admit_waiting(to);
        id
    }

    /// The connection that the host was asked for could not be had.
    pub fn unreachable(&mut self, to: Endpoint) {
        let Some(pool) = self.pools.get_mut(&to) else {
            return;
        };
        pool.connecting = false;
        for call in std::mem::take(&mut pool.waiting) {
            if self
                .calls
                .get(call)
                .is_some_and(|call| call.phase == Phase::Waiting)
            {
                self.attempt_failed(call, true, Cause::Connect);
            }
        }
    }

    /// An endpoint is gone: its connections end with their last call.
    pub fn retire(&mut self, to: Endpoint) {
        let Some(pool) = self.pools.remove(&to) else {
            return;
        };
        for id in pool.conns {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.leaving = true;
                self.dirty.push(id);
            }
        }
        for call in pool.waiting {
            self.attempt_failed(call, true, Cause::Connect);
        }
    }

    /// Does what the host says.
    pub(super) fn follow(&mut self, id: Id, verdict: Verdict) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        match verdict {
            Verdict::More if call.request.ended => self.finish(id, Ended::Refused),
            Verdict::More => call.phase = Phase::Routing,
            Verdict::Park => call.phase = Phase::Parked,
            Verdict::To(endpoint) => self.dispatch(id, endpoint),
            Verdict::Refuse(block) => self.refuse(id, &block),
        }
    }

    fn dispatch(&mut self, id: Id, to: Endpoint) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.to = Some(to);
        call.phase = Phase::Waiting;
        let pool = self.pools.entry(to).or_default();
        // One connection is filled before the next is used: fewer system calls.
        let conns = &self.conns;
        let open = pool
            .conns
            .iter()
            .find(|c| conns.get(**c).is_some_and(|conn| conn.has_room()));
        if let Some(conn) = open.copied().filter(|_| pool.waiting.is_empty()) {
            return self.send(id, conn);
        }
        pool.waiting.push_back(id);
        if !std::mem::replace(&mut pool.connecting, true) {
            self.host.connect(to);
        }
    }

    /// A connection may have room for a call that waits.
    pub(super) fn admit(&mut self, conn: Id) {
        let waits = self
            .pools
            .iter()
            .find(|(_, p)| !p.waiting.is_empty() && p.conns.contains(&conn));
        if let Some(to) = waits.map(|(to, _)| *to) {
            self.admit_waiting(to);
        }
    }

    fn admit_waiting(&mut self, to: Endpoint) {
        loop {
            let Some(pool) = self.pools.get_mut(&to) else {
                return;
            };
            let conns = &self.conns;
            let open = pool
                .conns
                .iter()
                .find(|c| conns.get(**c).is_some_and(|c| c.has_room()));
            let Some(conn) = open.copied() else { break };
            let Some(call) = pool.waiting.pop_front() else {
                return;
            };
            if self
                .calls
                .get(call)
                .is_some_and(|call| call.phase == Phase::Waiting)
            {
                self.send(call, conn);
            }
        }
        let Some(pool) = self.pools.get_mut(&to) else {
            return;
        };
        if !pool.waiting.is_empty() && !std::mem::replace(&mut pool.connecting, true) {
            self.host.connect(to);
        }
    }

    /// Puts a call on a connection that has room.
    fn send(&mut self, id: Id, conn_id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(conn) = self.conns.get_mut(conn_id) else {
            return;
        };
        let stream = conn.stream;
        conn.stream += 2;
        conn.streams.insert(stream, id);
        let mut half = Half::new(
            conn_id,
            stream,
            conn.peer.window,
            self.config.settings.window,
        );
        let ends = call.request.ended && call.request.body.is_empty();
        let bare = ends && call.request.trailers.is_none();
        let mut extra = Block::new();
        let to = call.to.unwrap_or_default();
        self.host.sending(&mut call.host, to);
        if let Some(deadline) = call.deadline {
            let left = deadline.saturating_duration_since(self.now);
            extra.push(b"grpc-timeout", timeout::write(left).as_bytes());
        }
        let length = call.request.headers.len();
        extra
            .fields()
            .for_each(|field| call.request.headers.extend_from_slice(field.wire));
        let max = conn.peer.max_frame as usize;
        frame::headers(&mut conn.out, stream, &call.request.headers, bare, max);
        call.request.headers.truncate(length);
        call.request.sent = 0;
        call.phase = Phase::Sent;
        half.sent_all = bare;
        if call.request.ended && !bare {
            half.end = call
                .request
                .trailers
                .clone()
                .map_or(End::Bare, End::Trailers);
        }
        half.pending.push(&call.request.body);
        call.upstream = Some(half);
        let limit = self.config.replay;
        if call.request.body.len() > limit {
            call.request.whole = false;
            call.request.body = Vec::new();
        }
        self.dirty.push(conn_id);
        self.flush(id, conn_id);
    }

    /// An attempt ended before an answer began: the host says what now.
    pub(super) fn attempt_failed(&mut self, id: Id, unsent: bool, cause: Cause) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let repeatable = call.request.whole;
        let verdict = self.host.failed(
            &mut call.host,
            Failure {
                unsent,
                repeatable,
                cause,
            },
        );
        match verdict {
            Verdict::To(_) | Verdict::Park if !repeatable => self.finish(id, Ended::Broken(cause)),
            verdict => self.follow(id, verdict),
        }
    }
}
