//! What the engine asks of the router: whom a call is for, who takes it, what its end means.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use channel::{Attempted, Error, Lease, Peer, Target};
use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_relay::{
    Cause, Ended, Endpoint, Failure, Host, Id, Verdict,
    driver::{Command, Dialing, Network, Stream},
    hpack::{Block, Field, Token},
    timeout,
};
use proto::error_info;
use telemetry::propagation;
use tokio::{sync::mpsc, time::sleep};
use tonic::{Code, Status};
use tracing::Span;

use super::{
    Shared, answers,
    call::{Call, Reading, State},
    head::{BlockHead, Facts},
};
use crate::{
    body::Inspector,
    directory::View,
    routes::{self, Head, Route},
    scanner::{Fields, FrameMeter, Progress, ScanError, Scanner},
    server::PROCESS_TASK,
};

/// The endpoint that is the router itself; peers begin at 1.
const OWN: Endpoint = 0;
/// The pause before an attempt that follows a failure an instance may have seen.
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// The trace context of a request, which is replaced where spans are made.
const CONTEXT: [&[u8]; 2] = [b"traceparent", b"tracestate"];

/// The router, as one engine's host.
pub(crate) struct Router {
    shared: Arc<Shared>,
    /// Where the endpoints are.
    peers: HashMap<Endpoint, Peer>,
    commands: mpsc::Sender<Command<Self>>,
}

impl Router {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command<Self>>) -> Self {
        Self {
            shared,
            peers: HashMap::new(),
            commands,
        }
    }

    /// Where a call with this head goes.
    fn route(&mut self, call: &mut Call, head: BlockHead<'_>) -> Verdict {
        match if head.is_get() {
            Route::Own
        } else {
            routes::route(&head)
        } {
            Route::Own => {
                call.state = State::Own;
                Verdict::To(OWN)
            }
            Route::Metadata => self.by_metadata(call, head),
            Route::Message(fields) => match self.reading(head, fields) {
                Ok(reading) => {
                    call.state = State::Reading(reading);
                    Verdict::More
                }
                Err(status) => refuse(call, &status),
            },
        }
    }

    fn by_metadata(&mut self, call: &mut Call, head: BlockHead<'_>) -> Verdict {
        let session = match routes::text(&head, routes::SESSION) {
            Ok(session) => session.unwrap_or_default().to_owned(),
            Err(status) => return refuse(call, &status),
        };
        let view = self.shared.directory.view();
        if view.ready() {
            return self.to_service(call, routes::by_metadata(&view, &head), &session);
        }
        let facts = Facts::of(head);
        self.when_known(call, move |host, call, view| {
            host.to_service(call, routes::by_metadata(view, &facts), &session)
        })
    }

    fn reading(&self, head: BlockHead<'_>, fields: &'static Fields) -> Result<Reading, Status> {
        let scanner = Scanner::new(fields)
            .max_message_bytes(self.shared.max_message_bytes)
            .encoding(routes::text(&head, "grpc-encoding")?);
        Ok(Reading {
            scanner: Box::new(scanner),
            by_authority: routes::by_authority(&self.shared.directory.view(), &head),
            session: routes::text(&head, routes::SESSION)?.map(str::to_owned),
            fields,
            ended: false,
        })
    }

    /// The first message has told enough, or all it will.
    fn by_message(&mut self, call: &mut Call, view: &View) -> Verdict {
        let State::Reading(reading) = &call.state else {
            return Verdict::More;
        };
        let service = match (reading.scanner.id(), &reading.by_authority) {
            (Some(id), _) => routes::by_id(view, id),
            (None, Some(service)) => Ok(Arc::clone(service)),
            (None, None) => Err(routes::missing(reading.fields)),
        };
        let service = match service {
            Ok(service) => service,
            Err(status) => return refuse(call, &status),
        };
        let session = match &reading.session {
            Some(session) => session.clone(),
            // In agentplatform messages the session comes last: it is waited for where it matters.
            None if self.shared.mesh.wants_session(&service) && !reading.ended => {
                return Verdict::More;
            }
            None => reading.scanner.session().unwrap_or_default().to_owned(),
        };
        if let State::Reading(reading) = std::mem::replace(&mut call.state, State::Own) {
            call.state = State::Passing(Inspector::Scan(reading.scanner));
        }
        self.to_service(call, Ok(service), &session)
    }

    fn to_service(
        &mut self,
        call: &mut Call,
        service: Result<Arc<str>, Status>,
        session: &str,
    ) -> Verdict {
        match service {
            Ok(service) => {
                call.target = Some(Target::service(&service).session(session));
                self.place(call)
            }
            Err(status) => refuse(call, &status),
        }
    }

    /// Someone takes the call now, or later, or nobody does.
    fn place(&mut self, call: &mut Call) -> Verdict {
        let Some(target) = &call.target else {
            return Verdict::Park;
        };
        match self.shared.mesh.lease(target, &call.tried) {
            Ok(lease) => self.to(call, lease),
            Err(error) if error.may_pass() => self.place_later(call, Duration::ZERO),
            Err(error) => refuse(call, &error.status()),
        }
    }

    fn place_later(&self, call: &Call, pause: Duration) -> Verdict {
        let Some(target) = call.target.clone() else {
            return Verdict::Park;
        };
        let (mesh, tried) = (self.shared.mesh.clone(), call.tried.clone());
        self.later(call, async move {
            sleep(pause).await;
            let outcome = mesh.lease_soon(&target, &tried).await;
            move |host: &mut Self, call: &mut Call| match outcome {
                Ok(lease) => host.to(call, lease),
                Err(error) => refuse(call, &error.status()),
            }
        })
    }

    fn when_known(
        &self,
        call: &Call,
        decide: impl FnOnce(&mut Self, &mut Call, &View) -> Verdict + Send + 'static,
    ) -> Verdict {
        let shared = Arc::clone(&self.shared);
        self.later(call, async move {
            let patience = shared.mesh.options().queue_timeout;
            let view = routes::known(&shared.directory, patience).await;
            move |host: &mut Self, call: &mut Call| match view {
                Ok(view) => decide(host, call, &view),
                Err(status) => refuse(call, &status),
            }
        })
    }

    /// Parks a call until a future on the program's runtime has come to a decision.
    fn later<D>(&self, call: &Call, future: impl Future<Output = D> + Send + 'static) -> Verdict
    where
        D: FnOnce(&mut Self, &mut Call) -> Verdict + Send + 'static,
    {
        let (id, commands) = (call.id, self.commands.clone());
        let decided = async move {
            let decide = future.await;
            let command = Command::Do(Box::new(move |engine| engine.resume_with(id, decide)));
            // An engine that has ended has no call to decide about.
            commands.send(command).await.ok();
        };
        self.spawn(decided);
        Verdict::Park
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shared.shutdown.clone();
        let until_shutdown = async move {
            shutdown.run_until_cancelled(future).await;
        };
        self.shared
            .tracker
            .spawn_on(until_shutdown, &self.shared.runtime);
    }

    fn to(&mut self, call: &mut Call, lease: Lease) -> Verdict {
        let number = lease.peer().number();
        if call.method == PROCESS_TASK.trim_start_matches('/')
            && let (Some(target), State::Passing(Inspector::Scan(scanner))) =
                (&call.target, &call.state)
            && let Some(task) = scanner.task()
        {
            let key = &lease.peer().instance().key;
            let now = tokio::time::Instant::now();
            self.shared.tasks.record(task, &target.service, key, now);
        }
        self.know(lease.peer());
        call.lease = Some(lease);
        Verdict::To(number)
    }

    /// Keeps where an endpoint is, until it leaves the registry.
    fn know(&mut self, peer: &Peer) {
        let number = peer.number();
        if self.peers.contains_key(&number) {
            return;
        }
        self.peers.insert(number, peer.clone());
        let (gone, commands) = (peer.clone().gone(), self.commands.clone());
        self.spawn(async move {
            gone.await;
            let forget = Command::Do(Box::new(move |engine: &mut mesh_relay::Engine<Self>| {
                engine.retire(number);
                engine.host().peers.remove(&number);
            }));
            commands.send(forget).await.ok();
        });
    }

    /// What is to be done about an attempt that an instance gave no answer to.
    fn again(&mut self, call: &mut Call, lease: Lease, failure: Failure, error: &Error) -> Verdict {
        let attempted = Attempted {
            number: call.attempts,
            repeatable: failure.repeatable,
            method: &call.method,
            declared: call.declared,
        };
        let retry = failure.cause == Cause::Declined || lease.may_retry(error, attempted);
        if !retry {
            let status = error.status();
            call.lease = Some(lease);
            return refuse(call, &status);
        }
        call.tried.push(lease.peer().clone());
        drop(lease);
        if failure.unsent {
            self.place(call)
        } else {
            self.place_later(call, RETRY_PAUSE.mul_f64(rand_jitter()))
        }
    }

    /// No connection could be had in time: that was no attempt.
    fn elsewhere(&mut self, call: &mut Call, lease: Lease) -> Verdict {
        let patience = self.shared.mesh.options().queue_timeout;
        let since = *call.stranded.get_or_insert_with(Instant::now);
        let (peer, service) = (
            lease.peer().clone(),
            lease.peer().instance().service.to_string(),
        );
        drop(lease);
        if since.elapsed() >= patience {
            let reason = peer
                .broken()
                .unwrap_or_else(|| "still connecting".to_owned());
            let error = Error::Unreachable {
                service,
                waited: since.elapsed(),
                reason,
            };
            return refuse(call, &error.status());
        }
        call.tried.push(peer);
        self.place(call)
    }
}

/// ±20 %, so that many callers do not come back in step.
fn rand_jitter() -> f64 {
    rand::RngExt::random_range(&mut rand::rng(), 0.8..=1.2)
}

/// Ends a call with a status of the mesh's.
fn refuse(call: &mut Call, status: &Status) -> Verdict {
    call.refused = Some(status.code());
    Verdict::Refuse(if call.answered {
        answers::trailers(status)
    } else {
        answers::answer(status, call.instance().as_deref())
    })
}

/// What a failed attempt is to the caller.
fn error(instance: String, failure: Failure) -> Error {
    let reason = format!("{:?}", failure.cause);
    if failure.unsent {
        return Error::Unsent { instance, reason };
    }
    let code = match failure.cause {
        Cause::Connect | Cause::Lost | Cause::Declined => Code::Unavailable,
        // gRPC's mapping of HTTP/2 error codes.
        Cause::Reset(0x7) => Code::Unavailable,
        Cause::Reset(0x8) => Code::Cancelled,
        Cause::Reset(0xb) | Cause::Memory => Code::ResourceExhausted,
        Cause::Reset(0xc) => Code::PermissionDenied,
        Cause::Reset(_) | Cause::Malformed(_) => Code::Internal,
        Cause::Deadline => Code::DeadlineExceeded,
    };
    Error::Broken {
        instance,
        reason,
        code,
    }
}

impl Host for Router {
    type Call = Call;

    fn begin(&mut self, id: Id, _client: Id, request: &Block, end: bool) -> (Call, Verdict) {
        self.shared.active.fetch_add(1, Ordering::Relaxed);
        let head = BlockHead(request);
        let mut call = Call {
            id,
            state: State::Passing(Inspector::Meter(FrameMeter::new(
                self.shared.max_message_bytes,
            ))),
            method: head.path().trim_start_matches('/').to_owned(),
            declared: head.metadata("x-mesh-idempotent").is_some(),
            began: Instant::now(),
            attempts: 0,
            tried: Vec::new(),
            target: None,
            lease: None,
            answered: false,
            refused: None,
            stranded: None,
            span: span(request),
        };
        let verdict = match check(request) {
            Ok(()) => self.route(&mut call, head),
            Err(status) => refuse(&mut call, &status),
        };
        let verdict = match (verdict, end) {
            // No body follows: there is no message to read.
            (Verdict::More, true) => self.bytes(&mut call, &[], true),
            (verdict, _) => verdict,
        };
        (call, verdict)
    }

    fn bytes(&mut self, call: &mut Call, bytes: &[u8], end: bool) -> Verdict {
        let fed = match &mut call.state {
            State::Own => return Verdict::More,
            State::Passing(Inspector::Meter(meter)) => meter.feed(bytes).map(|()| None),
            State::Passing(Inspector::Scan(scanner)) => feed(scanner, bytes, end).map(|_| None),
            State::Reading(reading) => feed(&mut reading.scanner, bytes, end).map(|progress| {
                reading.ended = matches!(progress, Progress::Complete | Progress::Missing);
                Some(progress)
            }),
        };
        match fed {
            Err(error) => refuse(call, &error.status()),
            Ok(None | Some(Progress::Reading)) => Verdict::More,
            Ok(Some(_)) => {
                let view = self.shared.directory.view();
                if view.ready() {
                    self.by_message(call, &view)
                } else {
                    self.when_known(call, |host, call, view| host.by_message(call, view))
                }
            }
        }
    }

    fn forwards(&self, field: &Field<'_>) -> bool {
        !telemetry::tracing_enabled() || !CONTEXT.contains(&field.name)
    }

    fn sending(&mut self, call: &mut Call, _to: Endpoint, extra: &mut Block) {
        if let Some(lease) = &mut call.lease {
            call.attempts += 1;
            lease.sent();
        }
        if telemetry::tracing_enabled() {
            let mut headers = HeaderMap::new();
            propagation::inject(&call.span, &mut headers);
            for (name, value) in &headers {
                extra.push(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    fn accepts(&mut self, call: &mut Call, response: &Block, end: bool, repeatable: bool) -> bool {
        let Some(lease) = &call.lease else {
            call.answered = true;
            return true;
        };
        let status = response
            .get(Token::GrpcStatus)
            .and_then(|field| code(field.value));
        lease.answered(status.filter(|_| end));
        let attempted = Attempted {
            number: call.attempts,
            repeatable,
            method: &call.method,
            declared: call.declared,
        };
        let declined = end && status.is_some_and(|code| lease.may_retry_status(code, attempted));
        call.answered = !declined;
        call.answered
    }

    fn heard(&mut self, call: &mut Call) {
        if let Some(lease) = &call.lease {
            lease.heard();
        }
    }

    fn answered(&mut self, call: &mut Call, _response: &Block, extra: &mut Block) {
        if let Some(lease) = &call.lease {
            answers::name(extra, &lease.peer().instance().key.id);
        }
    }

    fn failed(&mut self, call: &mut Call, failure: Failure) -> Verdict {
        if failure.cause == Cause::Deadline {
            if let Some(lease) = &call.lease {
                lease.overdue();
            }
            return refuse(call, &Error::Deadline(call.began.elapsed()).status());
        }
        let Some(lease) = call.lease.take() else {
            let status = Status::unavailable(format!("the router itself: {:?}", failure.cause));
            return refuse(call, &status);
        };
        match failure.cause {
            Cause::Connect => self.elsewhere(call, lease),
            _ => {
                if !failure.unsent && failure.cause != Cause::Declined {
                    lease.failed();
                }
                let instance = lease.peer().instance().key.id.to_string();
                let error = error(instance, failure);
                self.again(call, lease, failure, &error)
            }
        }
    }

    fn broken(&mut self, call: &mut Call, cause: Cause) -> Block {
        let instance = call.instance().unwrap_or_default();
        let status = match (cause, &call.lease) {
            (Cause::Deadline, lease) => {
                if let Some(lease) = lease {
                    lease.overdue();
                }
                Error::Deadline(call.began.elapsed()).status()
            }
            (cause, lease) => {
                if let Some(lease) = lease {
                    lease.failed();
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
        answers::trailers(&status)
    }

    fn ended(&mut self, call: Call, ended: Ended) {
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
        if matches!(call.state, State::Own) {
            // Whoever answered it has counted it.
            return;
        }
        let code = match ended {
            Ended::Answered(status) => {
                let code = status.map_or(Code::Unknown, |s| Code::from(s.cast_signed()));
                if let Some(lease) = &call.lease {
                    lease.ended(code);
                }
                code
            }
            Ended::Refused | Ended::Broken(_) => call.refused.unwrap_or(Code::Unavailable),
            Ended::Cancelled => Code::Cancelled,
        };
        let code = code as i32;
        if !call.span.is_disabled() {
            let name = telemetry::rpc::code_name(code);
            call.span.record("rpc.response.status_code", name);
            if code != 0 {
                call.span.record("otel.status_code", "ERROR");
            }
        }
        self.shared
            .behind
            .calls
            .observe(&call.method, code, call.began.elapsed());
    }
}

impl Network for Router {
    fn dial(&mut self, to: Endpoint) -> Dialing {
        if to == OWN {
            let behind = self.shared.behind.clone();
            return Box::pin(async move { Ok(Box::new(behind.connect()) as Box<dyn Stream>) });
        }
        let Some(peer) = self.peers.get(&to).cloned() else {
            return Box::pin(async { Err(io::Error::other("the instance is gone")) });
        };
        let commands = self.commands.clone();
        Box::pin(async move {
            let connecting = peer.connect();
            tokio::pin!(connecting);
            let outcome = tokio::select! {
                outcome = connecting.as_mut() => outcome,
                () = sleep(peer.patience()) => {
                    let look = Command::Do(Box::new(move |engine: &mut mesh_relay::Engine<Self>| {
                        engine.impatient(to);
                    }));
                    // When too many commands wait, the calls wait for the connection itself.
                    commands.try_send(look).ok();
                    connecting.await
                }
            };
            outcome.map(|stream| Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// What no call may bring.
fn check(request: &Block) -> Result<(), Status> {
    if request.is_truncated() {
        return Err(error_info::status(
            Code::ResourceExhausted,
            "LIMIT",
            "the metadata is larger than max_header_bytes",
            [("key", "max_header_bytes".to_owned())],
        ));
    }
    match request.get(Token::GrpcTimeout) {
        Some(field) if timeout::read(field.value).is_none() => Err(error_info::status(
            Code::InvalidArgument,
            "BAD_METADATA",
            "grpc-timeout is not up to 8 digits and a unit of H, M, S, m, u or n",
            [("field", "grpc-timeout".to_owned())],
        )),
        _ => Ok(()),
    }
}

fn feed(scanner: &mut Scanner, bytes: &[u8], end: bool) -> Result<Progress, ScanError> {
    let progress = scanner.feed(bytes)?;
    if end { scanner.finish() } else { Ok(progress) }
}

fn code(value: &[u8]) -> Option<Code> {
    let code: i32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Code::from(code))
}

/// The span of a call, a child of the caller's context; none where no spans are exported.
fn span(request: &Block) -> Span {
    if !telemetry::tracing_enabled() {
        return Span::none();
    }
    let head = BlockHead(request);
    let method = head.path().trim_start_matches('/');
    let span = tracing::info_span!(
        "rpc.server",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
    );
    let mut headers = HeaderMap::new();
    for field in request
        .fields()
        .filter(|field| CONTEXT.contains(&field.name))
    {
        let pair = (
            HeaderName::from_bytes(field.name),
            HeaderValue::from_bytes(field.value),
        );
        if let (Ok(name), Ok(value)) = pair {
            headers.append(name, value);
        }
    }
    propagation::set_parent(&span, &headers);
    span
}
