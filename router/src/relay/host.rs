//! The router as the engine's host: beginnings, bytes and ends of calls.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use channel::{Error, Peer, Pushback, Timestamp};
use mesh_relay::{
    Cause, Ended, Endpoint, Failure, Host, Id, Map, PeerProtocol, Verdict,
    driver::Command,
    hpack::{Block, Field, Token, is_authority},
};
use proto::{MeshCause, frame::FrameReader};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Code, Status};

use super::{
    Shared,
    call::{BodyState, Call},
    client::Client,
    dispatch::refuse,
    gauges::EngineGauges,
    responses,
    spans::{self, CallTrace},
};
use crate::{
    routing::{
        cache::RouteCache,
        failure,
        head::RequestHead,
        request::{self, HEDGED_CALL, INSTANCE, RequestMetadata, validate},
    },
    scanner::Inspector,
};

/// The endpoint that is the router itself; peers begin at 1.
pub(super) const LOCAL: Endpoint = 0;

/// The router, as one engine's host.
pub(crate) struct RouterHost {
    pub(super) shared: Arc<Shared>,
    /// Where the endpoints are.
    pub(super) peers: Map<Endpoint, PeerEntry>,
    pub(super) commands: mpsc::Sender<Command<Self>>,
    pub(super) clients: Map<Id, Client>,
    pub(super) route_cache: RouteCache,
    /// What the engine has, as metrics.
    pub(super) gauges: EngineGauges,
    /// The time of this turn.
    pub(super) now: Timestamp,
}

/// An endpoint that the engine may connect to.
pub(super) struct PeerEntry {
    pub(super) peer: Peer,
    /// The field that names it to clients.
    pub(super) named: Block,
}

impl RouterHost {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command<Self>>) -> Self {
        Self {
            gauges: EngineGauges::new(shared.gauges.clone()),
            now: shared.mesh.timestamp(Instant::now()),
            shared,
            peers: Map::default(),
            commands,
            clients: Map::default(),
            route_cache: RouteCache::default(),
        }
    }

    /// The status of a call that a limit has ended; `None` for any other cause.
    fn limit_status(&self, call: &Call, cause: Cause) -> Option<Status> {
        if let (Cause::LargeAnswer, Some(attempt)) = (cause, &call.attempt) {
            attempt.received(self.now);
        }
        let instance = call.instance();
        failure::limit_status(cause, instance.as_deref(), self.shared.max_header_bytes)
    }

    /// The deadline of a call is over.
    fn deadline_exceeded(&self, call: &Call) -> Status {
        if let Some(attempt) = &call.attempt {
            attempt.overdue(self.now);
        }
        Error::Deadline(self.now.since(call.began)).status()
    }
}

impl Host for RouterHost {
    type Call = Call;

    fn tick(&mut self, now: std::time::Instant) {
        self.now = self.shared.mesh.timestamp(now.into());
    }

    fn on_request(&mut self, id: Id, client: Id, request: &Block, end: bool) -> (Call, Verdict) {
        self.shared.active.fetch_add(1, Ordering::Relaxed);
        self.clients.entry(client).or_default().begins();
        let known = self
            .route_cache
            .find(request, &self.shared.directory.current());
        // The target of the call, or the head that has to be routed.
        let (metadata, target) = match known {
            Some((metadata, target)) => (metadata, Ok(target)),
            None => {
                let head = RequestHead::new(request);
                let metadata = RequestMetadata::of(head, &self.shared.backend.calls);
                (Arc::new(metadata), Err(head))
            }
        };
        let mut call = Call {
            id,
            client,
            state: BodyState::Forwarding(Inspector::Meter(FrameReader::new(
                self.shared.max_message_bytes,
            ))),
            metadata,
            began: self.now,
            attempts: 0,
            tried: Vec::new(),
            target: None,
            attempt: None,
            hedged: None,
            answered: false,
            refused: None,
            cause: None,
            pushback: Pushback::None,
            unconnected_since: None,
            parked: None,
            trace: CallTrace::begin(request, self.now),
            address: None,
            permit: None,
            head: None,
            request_bytes: 0,
        };
        let admitted = self.admit(&mut call, client, request);
        let admitted = admitted.and_then(|()| validate(request));
        let verdict = match (admitted, target) {
            (Ok(()), Ok(target)) => self.send_to(&mut call, target),
            (Ok(()), Err(head)) => self.route(&mut call, head),
            (Err(status), _) => refuse(&mut call, &status),
        };
        let verdict = match (verdict, end) {
            // No body follows: there is no message to read.
            (Verdict::More, true) => self.on_request_data(&mut call, &[], true),
            (verdict, _) => verdict,
        };
        (call, verdict)
    }

    fn on_request_data(&mut self, call: &mut Call, bytes: &[u8], end: bool) -> Verdict {
        call.request_bytes += bytes.len() as u64;
        let read = match &mut call.state {
            BodyState::Local => return Verdict::More,
            BodyState::Forwarding(inspector) => inspector.read(bytes, end).map(|()| false),
            BodyState::Reading(route) => route.read(bytes, end),
        };
        match read {
            Err(error) => refuse(call, &error.status()),
            // A parked call decides once it is resumed.
            Ok(may_decide) if may_decide && call.parked.is_none() => {
                let snapshot = self.shared.directory.snapshot();
                self.route_by_message(call, &snapshot)
            }
            Ok(_) => Verdict::More,
        }
    }

    fn timeout(&self, call: &Call) -> Option<Duration> {
        match (&call.attempt, &call.hedged) {
            (Some(attempt), _) => attempt.timeout(),
            // The backend gives it that of its service.
            (None, Some(_)) => None,
            (None, None) => self.shared.default_timeout,
        }
    }

    fn forwards_field(&self, call: &Call, field: &Field<'_>) -> bool {
        request::is_forwarded(field.name) && call.trace.forwards(field)
    }

    fn returns_field(&self, call: &Call, field: &Field<'_>) -> bool {
        // An instance may be a router itself, or send back what it was sent. What the router answers
        // itself is named there.
        call.attempt.is_none() || field.name != INSTANCE.as_str().as_bytes()
    }

    fn authority(&self, call: &Call) -> String {
        let service = call.target.as_ref().map(|target| &*target.service);
        let usable = service.filter(|name| is_authority(name.as_bytes()));
        usable.unwrap_or("localhost").to_owned()
    }

    fn headers_too_large(&mut self, client: Id, request: &Block) -> Block {
        let limit = self.shared.max_header_bytes;
        let status = failure::oversized_metadata("the request's metadata", limit);
        self.refused_unread(client, request, &status);
        responses::trailers_only(&status, None)
    }

    fn wrong_protocol(&mut self, client: Id, protocol: PeerProtocol) -> Vec<u8> {
        let address = self.clients.get(&client).and_then(|client| client.from);
        service::wrong_protocol_reply(protocol, address)
    }

    fn on_send(&mut self, call: &mut Call, to: Endpoint, extra: &mut Block) {
        call.trace.send(to, self.now, extra);
        let Some(attempt) = &mut call.attempt else {
            if let Some(hedged) = &call.hedged {
                extra.push(HEDGED_CALL.as_bytes(), hedged.id().as_bytes());
            }
            return;
        };
        if call.attempts > 0 {
            let previous = call.attempts.to_string();
            extra.push(channel::PREVIOUS_ATTEMPTS.as_bytes(), previous.as_bytes());
        }
        call.attempts += 1;
        attempt.sent(self.now);
    }

    fn accepts_response(
        &mut self,
        call: &mut Call,
        response: &Block,
        end: bool,
        repeatable: bool,
    ) -> bool {
        let Some(attempt) = &call.attempt else {
            call.answered = true;
            if end {
                call.answered_here(response);
            }
            return true;
        };
        let status = response
            .get(Token::GrpcStatus)
            .and_then(|field| code(field.value));
        attempt.answered(status.filter(|_| end), self.now);
        let mut declined = false;
        if let Some(code) = status.filter(|_| end) {
            let field = response.named(Pushback::HEADER.as_bytes());
            call.pushback = Pushback::read(field.map(|field| field.value));
            declined = call.pushback != Pushback::Stop
                && attempt.may_retry_status(code, call.retry_request(repeatable));
        }
        call.answered = !declined;
        call.answered
    }

    fn on_response_data(&mut self, call: &mut Call) {
        if let Some(attempt) = &call.attempt {
            attempt.received(self.now);
        }
    }

    fn on_response(&mut self, call: &mut Call, _response: &Block, extra: &mut Block) {
        let Some(attempt) = &call.attempt else { return };
        match self.peers.get(&attempt.peer().number()) {
            Some(known) => extra.append(&known.named),
            // It has left the registry since, and its calls end in peace.
            None => responses::add_instance(extra, &attempt.peer().instance().key.id),
        }
    }

    fn on_trailers(&mut self, call: &mut Call, block: &Block) {
        if let Some(attempt) = &call.attempt {
            attempt.trailers(|name| block.named(name.as_bytes()).map(|field| field.value));
        } else {
            call.answered_here(block);
        }
    }

    fn on_attempt_failed(&mut self, call: &mut Call, failure: Failure) -> Verdict {
        if failure.cause == Cause::Deadline {
            let status = self.deadline_exceeded(call);
            return refuse(call, &status);
        }
        call.end_attempt(Code::Unavailable as i32, self.now);
        if let Some(status) = self.limit_status(call, failure.cause) {
            return refuse(call, &status);
        }
        let Some(attempt) = call.attempt.take() else {
            let status = Status::unavailable(format!("the router itself: {}", failure.cause));
            let verdict = refuse(call, &status);
            call.cause = Some(MeshCause::Reset);
            return verdict;
        };
        match failure.cause {
            Cause::Connect => return self.connect_failed(call, attempt),
            Cause::Http(status) => attempt.answered_by_http(status, self.now),
            _ if failure.unsent || failure.cause == Cause::Declined => {}
            _ => attempt.failed(self.now),
        }
        self.retry_or_refuse(call, attempt, failure)
    }

    fn response_aborted(&mut self, call: &mut Call, cause: Cause) -> Block {
        let limit = self.limit_status(call, cause);
        let status = limit.unwrap_or_else(|| match cause {
            Cause::Deadline => self.deadline_exceeded(call),
            cause => {
                if let Some(attempt) = &call.attempt {
                    attempt.failed(self.now);
                }
                let failure = Failure {
                    unsent: false,
                    repeatable: false,
                    cause,
                };
                failure::attempt_error(call.instance().unwrap_or_default(), failure).status()
            }
        });
        call.refused = Some(status.code());
        call.cause = MeshCause::of(&status);
        responses::trailers(&status)
    }

    fn on_end(&mut self, mut call: Call, ended: Ended) {
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.clients.get_mut(&call.client) {
            client.ended();
        }
        let code = match ended {
            Ended::Answered(status) => {
                let code = status.map_or(Code::Unknown, |s| Code::from(s.cast_signed()));
                if let Some(attempt) = &call.attempt {
                    attempt.ended(code, self.now);
                }
                code
            }
            Ended::Refused | Ended::Broken(_) => call.refused.unwrap_or(Code::Unavailable),
            Ended::Cancelled => {
                call.cause = Some(MeshCause::ClientLeft);
                Code::Cancelled
            }
            Ended::Cut => {
                call.cause = Some(MeshCause::Draining);
                Code::Cancelled
            }
        };
        let code = code as i32;
        let duration = self.now.since(call.began);
        call.log(&self.shared.backend.call_log, code, duration);
        call.end_attempt(code, self.now);
        let client = || self.clients.get(&call.client)?.address();
        spans::end(&call, client, code, self.now);
        if matches!(call.state, BodyState::Local) || call.hedged.is_some() {
            // The local backend has counted it.
            return;
        }
        let service = call.target.as_ref().map(|target| &*target.service);
        self.shared.backend.calls.observe_for(
            service,
            &call.metadata.method,
            code,
            self.now.since(call.began),
            call.trace.sampled(),
        );
    }
}

fn code(value: &[u8]) -> Option<Code> {
    let code: i32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Code::from(code))
}
