//! How a call gets onto a connection to the endpoint that the host has picked.

use crate::{
    call::{Call, Phase},
    conn::{self, Conn, Side},
    engine::{
        Engine,
        invariant::{CONNECTION, STEP},
    },
    half::{End, Half},
    host::{Cause, Ended, Endpoint, Failure, Host, Verdict},
    hpack::Token,
    slab::Id,
    timeout,
};

use super::transfer::transfer;

impl<H: Host> Engine<H> {
    /// The host has decided about a parked call, with what it keeps for it.
    pub fn resume(&mut self, id: Id, decide: impl FnOnce(&mut H, &mut H::Call) -> Verdict) {
        let parked = |call: &&mut Call<H::Call>| call.phase == Phase::Parked;
        if let Some(call) = self.calls.get_mut(id).filter(parked) {
            let verdict = decide(&mut self.host, &mut call.host);
            self.apply(id, verdict);
        }
    }

    /// A wanted connection is not open yet: the calls that wait for it may go elsewhere. The attempt to
    /// connect goes on.
    pub fn on_connect_slow(&mut self, to: Endpoint) {
        let pool = self.pools.get_mut(&to).filter(|pool| pool.connecting);
        if let Some(waiting) = pool.map(|pool| std::mem::take(&mut pool.waiting)) {
            self.fail_waiting(to, waiting);
        }
    }

    /// A wanted connection is open, and nothing was written on it.
    pub fn connected(&mut self, to: Endpoint) -> Id {
        let id = self.join(to);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.send_preface();
        }
        self.send_waiting(to);
        id
    }

    /// A wanted connection is open. [`Self::preface`] was written, and the peer has sent `received`, with
    /// its SETTINGS at least: it speaks HTTP/2.
    pub fn connected_after_handshake(&mut self, to: Endpoint, received: &[u8]) -> Id {
        let id = self.join(to);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.preface_was_sent();
        }
        self.received(id, received);
        self.send_waiting(to);
        id
    }

    /// The preface of a connection to an instance.
    #[must_use]
    pub fn preface(&self) -> Vec<u8> {
        conn::preface(Side::Upstream, &self.config)
    }

    fn join(&mut self, to: Endpoint) -> Id {
        let id = self.open(Side::Upstream, Some(to));
        match self.pools.get_mut(&to) {
            Some(pool) => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.peer.max_streams = pool.max_streams;
                    conn.peer.max_header_list = pool.max_header_list;
                }
                pool.connecting = false;
                pool.conns.push(id);
            }
            // Retired while the connection was opened: nobody will use it.
            None => {
                if let Some(conn) = self.conns.get_mut(id) {
                    conn.leaving = true;
                }
            }
        }
        id
    }

    /// A wanted connection could not be opened.
    pub fn unreachable(&mut self, to: Endpoint) {
        let Some(pool) = self.pools.get_mut(&to) else {
            return;
        };
        pool.connecting = false;
        let waiting = std::mem::take(&mut pool.waiting);
        self.fail_waiting(to, waiting);
    }

    /// An endpoint is gone: its connections end with their last call.
    pub fn retire(&mut self, to: Endpoint) {
        let Some(pool) = self.pools.remove(&to) else {
            return;
        };
        for id in pool.conns {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.leaving = true;
                self.mark_dirty(id);
            }
        }
        self.fail_waiting(to, pool.waiting);
    }

    /// An endpoint is dead although its connections are open: their calls have failed.
    pub fn abort(&mut self, to: Endpoint) {
        let Some(pool) = self.pools.get_mut(&to) else {
            return;
        };
        for id in std::mem::take(&mut pool.conns) {
            if let Some(conn) = self.conns.get_mut(id) {
                conn.closed = true;
            }
            self.connection_lost(id);
        }
    }

    fn fail_waiting(&mut self, to: Endpoint, waiting: impl IntoIterator<Item = Id>) {
        for call in waiting {
            if self.waits(call, to) {
                self.attempt_failed(call, true, Cause::Connect);
            }
        }
    }

    /// Whether a call waits for a connection to this endpoint. It may be over, or sent elsewhere.
    fn waits(&self, call: Id, to: Endpoint) -> bool {
        self.calls
            .get(call)
            .is_some_and(|call| call.phase == Phase::Waiting && call.to == Some(to))
    }

    /// Carries out the host's verdict.
    pub(super) fn apply(&mut self, id: Id, verdict: Verdict) {
        let Some(call) = self.calls.expected(id, STEP) else {
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
        let calls = self.calls.len();
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        call.to = Some(to);
        call.phase = Phase::Waiting;
        if call.deadline.is_none()
            && let Some(timeout) = self.host.timeout(&call.host)
            && let Some(deadline) = call.begun.checked_add(timeout)
        {
            call.deadline = Some(deadline);
            self.set_timer(deadline, id);
        }
        let pool = self.pools.entry(to).or_default();
        pool.waiting.push_back(id);
        if pool.waiting.len() > 2 * calls + 64 {
            let calls = &self.calls;
            pool.waiting.retain(|call| calls.get(*call).is_some());
        }
        self.send_waiting(to);
    }

    /// Sends the calls that wait for an endpoint. A call that ends while it is sent makes room for the
    /// next one. A list holds those, so that clients cannot choose the depth of the stack.
    pub(super) fn send_waiting(&mut self, to: Endpoint) {
        if std::mem::replace(&mut self.sending_waiting, true) {
            if self.sendable.last() != Some(&to) {
                self.sendable.push(to);
            }
            return;
        }
        self.send_waiting_to(to);
        while let Some(to) = self.sendable.pop() {
            self.send_waiting_to(to);
        }
        self.sending_waiting = false;
    }

    /// Sends as many as the connections have room for, and wants another connection for the rest. One
    /// connection is filled before the next is used, which saves system calls.
    fn send_waiting_to(&mut self, to: Endpoint) {
        loop {
            let Some(pool) = self.pools.get_mut(&to).filter(|p| !p.waiting.is_empty()) else {
                return;
            };
            let conns = &self.conns;
            let open = pool
                .conns
                .iter()
                .find(|c| conns.get(**c).is_some_and(Conn::has_room));
            let Some(conn) = open.copied() else { break };
            if let Some(call) = pool.waiting.pop_front()
                && self.waits(call, to)
            {
                self.send(call, conn);
            }
        }
        let (conns, most) = (&self.conns, self.config.max_connections);
        if let Some(pool) = self.pools.get_mut(&to) {
            let used = pool.conns.iter().filter_map(|c| conns.get(*c));
            if used.filter(|conn| !conn.leaving).count() < most
                && !std::mem::replace(&mut pool.connecting, true)
            {
                self.wanted.push(to);
            }
        }
    }

    /// Puts a call on a connection that has room.
    fn send(&mut self, id: Id, conn_id: Id) {
        let max_output = self.max_output();
        let Some(call) = self.calls.expected(id, STEP) else {
            return;
        };
        let Some(conn) = self.conns.expected(conn_id, CONNECTION) else {
            return;
        };
        let extra = &mut self.extra;
        extra.clear();
        let to = call.to.unwrap_or_default();
        self.host.on_send(&mut call.host, to, extra);
        if let Some(deadline) = call.deadline {
            let left = deadline.saturating_duration_since(self.now);
            let value = timeout::write(left);
            extra.literal(Token::GrpcTimeout, false, b"grpc-timeout", &value);
        }
        // Some servers close the connection, which all clients share, for a list that is too large.
        let mut list = call.request.list_size(extra);
        // Pseudo-headers come first.
        let first = &mut self.first;
        first.clear();
        if !call.request.authority {
            let authority = self.host.authority(&call.host);
            first.push(b":authority", authority.as_bytes());
            list += first.size();
        }
        if list >= conn.peer.max_header_list as usize {
            return self.attempt_failed(id, true, Cause::HeaderList);
        }
        let stream = conn.open_stream(id);
        let mut half = Half::new(
            conn_id,
            stream,
            conn.peer.window,
            self.config.instances.window,
        );
        let ends = call.request.ended && call.request.body().is_empty();
        let bare = ends && call.request.trailers.is_none();
        let parts = [first.wire(), call.request.headers(), extra.wire()];
        conn.headers(stream, &parts, bare);
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
        let upstream = call.upstream.insert(half);
        let body = call.request.body();
        let flushed = transfer(
            upstream,
            &mut self.conns,
            &mut self.buffers,
            body,
            max_output,
        );
        if body.len() > self.config.replay {
            drop(call.request.forget());
        }
        self.sent_upstream(id, conn_id, &flushed);
        self.enforce_limit(id);
        self.finish_if_done(id);
    }

    /// An attempt ended before an answer began: the host decides what follows.
    pub(super) fn attempt_failed(&mut self, id: Id, unsent: bool, cause: Cause) {
        self.drop_upstream(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let repeatable = call.request.whole;
        let verdict = self.host.on_attempt_failed(
            &mut call.host,
            Failure {
                unsent,
                repeatable,
                cause,
            },
        );
        let over = !repeatable || matches!(cause, Cause::Deadline | Cause::Memory);
        match verdict {
            Verdict::To(_) | Verdict::Park | Verdict::More if over => {
                self.finish(id, Ended::Broken(cause))
            }
            verdict => self.apply(id, verdict),
        }
    }
}
