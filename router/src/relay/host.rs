//! What the engine asks of the router: how its calls begin, what their bytes say, what their ends mean.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use channel::{Error, Peer, Pushback, RetryRequest, Timestamp};
use mesh_relay::{
    Cause, Ended, Endpoint, Failure, Host, Id, Map, PeerProtocol, Verdict,
    driver::{Command, DialFuture, Dialed, EngineStats, Transport},
    hpack::{Block, Field, Token, is_authority},
    timeout,
};
use proto::error_info::{self, Reason};
use service::clients::{LimitExceeded, X_FORWARDED_FOR};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tonic::{Code, Status};
use tracing::Span;

use super::{
    Shared,
    call::{AccessEntry, BodyState, Call},
    client::Client,
    decision::{error, refuse},
    gauges::EngineGauges,
    handshake::handshake,
    head::BlockHead,
    responses,
    route_cache::{RequestMetadata, RouteCache},
    spans,
};
use crate::{
    body::Inspector,
    forward::{INSTANCE, INTERNAL_FIELDS},
    routes::{self, Head},
    scanner::{FrameMeter, Progress, ScanError, Scanner},
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
    gauges: EngineGauges,
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

    /// The status of a call that ended by what nobody but its peers is to blame for; `None` for any
    /// other.
    fn no_fault(&self, call: &Call, cause: Cause) -> Option<Status> {
        let instance = || call.instance().unwrap_or_else(|| "the router".to_owned());
        Some(match cause {
            Cause::Memory => memory_exceeded(),
            Cause::HeaderList => {
                let message = format!("the metadata is larger than {} takes", instance());
                too_large(message, None)
            }
            Cause::LargeRequest => self.large("the request's trailers"),
            Cause::LargeAnswer => {
                if let Some(attempt) = &call.attempt {
                    attempt.received(self.now);
                }
                self.large(&format!("the metadata of {}'s answer", instance()))
            }
            Cause::LargeForClient(most) => {
                let message = format!(
                    "the metadata of {}'s answer is larger than the {most} bytes that the client takes",
                    instance()
                );
                too_large(message, Some(most as usize))
            }
            _ => return None,
        })
    }

    fn large(&self, what: &str) -> Status {
        let limit = self.shared.max_header_bytes;
        let message = format!("{what} is larger than max_header_bytes, {limit} bytes");
        too_large(message, Some(limit))
    }

    /// Counts a call against its client, and writes it down at its end, where that is asked for.
    fn admit(&self, call: &mut Call, client: Id, request: &Block) -> Result<(), Status> {
        let client = self.clients.get(&client);
        let Some(connection) = client.and_then(|client| client.connection.as_ref()) else {
            return Ok(());
        };
        // Nobody has to be known where nothing is counted or written down.
        if !connection.counts_calls() && self.shared.backend.access.is_none() {
            return Ok(());
        }
        let head = BlockHead::new(request);
        if head.is_probe() {
            return Ok(());
        }
        let address = if connection.is_proxy() {
            let name = X_FORWARDED_FOR.as_bytes();
            let fields: Vec<_> = request.fields().filter(|f| f.name == name).collect();
            let values = fields
                .iter()
                .filter_map(|f| std::str::from_utf8(f.value).ok());
            connection.address(values)
        } else {
            connection.address(std::iter::empty())
        };
        if let Some(log) = &self.shared.backend.access {
            let record = log.begin(Some(address), call.metadata.method.name(), |name| {
                head.metadata(name)
            });
            call.access_entry = Some(Box::new(AccessEntry { record, bytes: 0 }));
        }
        let permit = connection.call(address).map_err(LimitExceeded::status)?;
        call.permit = Some(permit);
        Ok(())
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
        // Whom it is for, or the head that tells.
        let (metadata, target) = match known {
            Some((metadata, target)) => (metadata, Ok(target)),
            None => {
                let head = BlockHead::new(request);
                let metadata = RequestMetadata::of(head, &self.shared.backend.calls);
                (Arc::new(metadata), Err(head))
            }
        };
        let mut call = Call {
            id,
            client,
            state: BodyState::Forwarding(Inspector::Meter(FrameMeter::new(
                self.shared.max_message_bytes,
            ))),
            metadata,
            began: self.now,
            attempts: 0,
            tried: Vec::new(),
            target: None,
            attempt: None,
            answered: false,
            refused: None,
            pushback: Pushback::None,
            unconnected_since: None,
            parked: None,
            span: Span::none(),
            attempt_span: Span::none(),
            permit: None,
            access_entry: None,
        };
        call.span = spans::server_span(call.metadata.method.name(), request);
        let admitted = check(request).and_then(|()| self.admit(&mut call, client, request));
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
        if let Some(access_entry) = &mut call.access_entry {
            access_entry.bytes += bytes.len() as u64;
        }
        let fed = match &mut call.state {
            BodyState::Local => return Verdict::More,
            BodyState::Forwarding(Inspector::Meter(meter)) => meter.feed(bytes).map(|()| None),
            BodyState::Forwarding(Inspector::Scan(scanner)) => {
                feed(scanner, bytes, end).map(|_| None)
            }
            BodyState::Reading(reading) => feed(&mut reading.scanner, bytes, end).map(|progress| {
                reading.ended = matches!(progress, Progress::Complete | Progress::Missing);
                Some(progress)
            }),
        };
        match fed {
            Err(error) => refuse(call, &error.status()),
            Ok(None | Some(Progress::Reading)) => Verdict::More,
            // It is parked, and the engine would not hear a second decision.
            Ok(Some(_)) if call.parked.is_some() => Verdict::More,
            Ok(Some(_)) => {
                let snapshot = self.shared.directory.snapshot();
                if snapshot.ready() {
                    self.by_message(call, &snapshot)
                } else {
                    self.when_known(call, |host, call, snapshot| host.by_message(call, snapshot))
                }
            }
        }
    }

    fn timeout(&self, call: &Call) -> Option<Duration> {
        match &call.attempt {
            Some(attempt) => attempt.timeout(),
            None => self.shared.default_timeout,
        }
    }

    fn forwards_field(&self, field: &Field<'_>) -> bool {
        // Whom a call is pinned to is said to the router; behind it the instance may itself call.
        field.name != INSTANCE.as_str().as_bytes()
            && !INTERNAL_FIELDS
                .iter()
                .any(|name| name.as_bytes() == field.name)
            && spans::forwards(field)
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

    fn headers_too_large(&mut self, _client: Id) -> Block {
        responses::trailers_only(&self.large("the request's metadata"), None)
    }

    fn wrong_protocol(&mut self, client: Id, protocol: PeerProtocol) -> Vec<u8> {
        let address = self.clients.get(&client).and_then(|client| client.from);
        service::wrong_protocol_reply(protocol, address)
    }

    fn on_send(&mut self, call: &mut Call, _to: Endpoint, extra: &mut Block) {
        // What is the router's own makes spans of its own.
        let Some(attempt) = &mut call.attempt else {
            return;
        };
        if call.attempts > 0 {
            let previous = call.attempts.to_string();
            extra.push(channel::PREVIOUS_ATTEMPTS.as_bytes(), previous.as_bytes());
        }
        call.attempts += 1;
        attempt.sent(self.now);
        if telemetry::tracing_enabled() {
            let instance = attempt.peer().instance();
            let (service, id) = (&instance.service, &instance.key.id);
            call.attempt_span =
                spans::client_span(&call.span, call.metadata.method.name(), service, id, extra);
        }
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
            return true;
        };
        let status = response
            .get(Token::GrpcStatus)
            .and_then(|field| code(field.value));
        attempt.answered(status.filter(|_| end), self.now);
        let attempted = RetryRequest {
            number: call.attempts,
            repeatable,
            method: call.metadata.method.name(),
            declared: call.metadata.declared,
        };
        let mut declined = false;
        if let Some(code) = status.filter(|_| end) {
            let field = response.named(Pushback::HEADER.as_bytes());
            call.pushback = Pushback::read(field.map(|field| field.value));
            declined = call.pushback != Pushback::Stop && attempt.may_retry_status(code, attempted);
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
        }
    }

    fn on_attempt_failed(&mut self, call: &mut Call, failure: Failure) -> Verdict {
        if failure.cause == Cause::Deadline {
            if let Some(attempt) = &call.attempt {
                attempt.overdue(self.now);
            }
            return refuse(call, &Error::Deadline(self.now.since(call.began)).status());
        }
        call.attempt_span = Span::none();
        if let Some(status) = self.no_fault(call, failure.cause) {
            return refuse(call, &status);
        }
        let Some(attempt) = call.attempt.take() else {
            let status = Status::unavailable(format!("the router itself: {}", failure.cause));
            return refuse(call, &status);
        };
        match failure.cause {
            Cause::Connect => self.connect_failed(call, attempt),
            _ => {
                match failure.cause {
                    Cause::Http(status) => attempt.answered_by_http(status, self.now),
                    _ if failure.unsent || failure.cause == Cause::Declined => {}
                    _ => attempt.failed(self.now),
                }
                let instance = attempt.peer().instance().key.id.to_string();
                let error = error(instance, failure);
                self.retry_or_refuse(call, attempt, failure, &error)
            }
        }
    }

    fn response_aborted(&mut self, call: &mut Call, cause: Cause) -> Block {
        let instance = call.instance().unwrap_or_default();
        if let Some(status) = self.no_fault(call, cause) {
            call.refused = Some(status.code());
            return responses::trailers(&status);
        }
        let status = match (cause, &call.attempt) {
            (Cause::Deadline, attempt) => {
                if let Some(attempt) = attempt {
                    attempt.overdue(self.now);
                }
                Error::Deadline(self.now.since(call.began)).status()
            }
            (cause, attempt) => {
                if let Some(attempt) = attempt {
                    attempt.failed(self.now);
                }
                error(
                    instance,
                    Failure {
                        unsent: false,
                        repeatable: false,
                        cause,
                    },
                )
                .status()
            }
        };
        call.refused = Some(status.code());
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
            Ended::Cancelled => Code::Cancelled,
        };
        let code = code as i32;
        if let Some(access_entry) = call.access_entry.take() {
            access_entry
                .record
                .end(code, &call.outcome(access_entry.bytes));
        }
        if matches!(call.state, BodyState::Local) {
            // Whoever answered it has counted it.
            return;
        }
        spans::record_status(&call.span, code);
        self.shared
            .backend
            .calls
            .observe(&call.metadata.method, code, self.now.since(call.began));
    }
}

impl Transport for RouterHost {
    fn dial(&mut self, to: Endpoint, preface: &Arc<[u8]>) -> DialFuture {
        if to == LOCAL {
            let backend = self.shared.backend.clone();
            return Box::pin(
                async move { Ok(Dialed::without_handshake(Box::new(backend.connect()))) },
            );
        }
        let Some(peer) = self.peers.get(&to).map(|known| known.peer.clone()) else {
            return Box::pin(async { Err(io::Error::other("the instance is gone")) });
        };
        let (commands, preface) = (self.commands.clone(), Arc::clone(preface));
        Box::pin(async move {
            let connecting = peer.connect(|stream| handshake(stream, preface));
            tokio::pin!(connecting);
            tokio::select! {
                outcome = connecting.as_mut() => outcome,
                () = sleep(peer.connect_patience()) => {
                    let look = Command::Do(Box::new(move |engine: &mut mesh_relay::Engine<Self>| {
                        engine.on_connect_slow(to);
                    }));
                    // When too many commands wait, the calls wait for the connection itself.
                    commands.try_send(look).ok();
                    connecting.await
                }
            }
        })
    }

    fn accepted(&mut self, client: Id, from: SocketAddr) -> Result<(), &'static str> {
        let connection = self.shared.backend.clients.connect(from);
        let connection = connection.map_err(|LimitExceeded(key)| key)?;
        let known = self.clients.entry(client).or_default();
        known.from = Some(from);
        known.connection = Some(connection);
        Ok(())
    }

    fn disconnected(&mut self, client: Id) {
        self.clients.remove(&client);
    }

    fn report(&mut self, stats: EngineStats) {
        self.gauges.report(stats);
    }
}

/// What no call may bring.
fn check(request: &Block) -> Result<(), Status> {
    if request.has_mesh_fields() {
        // Nobody is named by what is not text.
        routes::metadata_text(&BlockHead::new(request), INSTANCE.as_str())?;
    }
    match request.get(Token::GrpcTimeout) {
        Some(field) if timeout::read(field.value).is_none() => Err(error_info::status(
            Code::InvalidArgument,
            Reason::BadMetadata,
            "grpc-timeout is not up to 8 digits and a unit of H, M, S, m, u or n",
            [("field", "grpc-timeout".to_owned())],
        )),
        _ => Ok(()),
    }
}

fn too_large(message: String, limit: Option<usize>) -> Status {
    let mut about = vec![("key", "max_header_bytes".to_owned())];
    about.extend(limit.map(|limit| ("limit", limit.to_string())));
    error_info::status(Code::ResourceExhausted, Reason::Limit, message, about)
}

/// It is not the instance's fault that nobody takes what is kept.
fn memory_exceeded() -> Status {
    error_info::status(
        Code::ResourceExhausted,
        Reason::Limit,
        "the calls of the client keep too much here, which is not read or waits for an instance",
        [("key", "client_memory".to_owned())],
    )
}

fn feed(scanner: &mut Scanner, bytes: &[u8], end: bool) -> Result<Progress, ScanError> {
    let progress = scanner.feed(bytes)?;
    if end { scanner.finish() } else { Ok(progress) }
}

fn code(value: &[u8]) -> Option<Code> {
    let code: i32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Code::from(code))
}
