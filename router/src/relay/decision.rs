//! Whom a call is for and who takes it: now, later, or again after an attempt that failed.

use std::{sync::Arc, time::Duration};

use channel::{CallAffinity, CallAttempt, Error, Peer, Pushback, RetryRequest, Target};
use mesh_relay::{Cause, Failure, Verdict, driver::Command, hpack::Block};
use tokio::{task::JoinHandle, time::sleep};
use tonic::{Code, Status};
use tracing::Span;

use super::{
    call::{BodyState, Call, ParkedTask, Reading},
    head::{BlockHead, OwnedHead},
    host::{LOCAL, PeerEntry, RouterHost},
    responses,
};
use crate::{
    body::Inspector,
    directory::DirectorySnapshot,
    routes::{self, Route},
    scanner::{Fields, Scanner},
    server::PROCESS_TASK,
};

/// The pause before an attempt that follows a failure an instance may have seen.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

impl RouterHost {
    /// Where a call with this head goes.
    pub(super) fn route(&mut self, call: &mut Call, head: BlockHead<'_>) -> Verdict {
        match if head.is_not_grpc() {
            Route::Local
        } else {
            routes::route(&head)
        } {
            Route::Local => {
                call.state = BodyState::Local;
                call.span = Span::none();
                Verdict::To(LOCAL)
            }
            Route::Metadata => self.by_metadata(call, head),
            Route::Message(fields) => match self.reading(head, fields) {
                Ok(reading) => {
                    call.state = BodyState::Reading(reading);
                    Verdict::More
                }
                Err(status) => refuse(call, &status),
            },
        }
    }

    fn by_metadata(&mut self, call: &mut Call, head: BlockHead<'_>) -> Verdict {
        let session = match routes::metadata_text(&head, routes::SESSION) {
            Ok(session) => session.unwrap_or_default().to_owned(),
            Err(status) => return refuse(call, &status),
        };
        let snapshot = self.shared.directory.snapshot();
        if snapshot.ready() {
            let verdict = self.for_service(call, routes::by_metadata(&snapshot, &head), &session);
            if let Some(target) = &call.target {
                self.route_cache
                    .keep(head, &snapshot, &call.metadata, target);
            }
            return verdict;
        }
        let facts = OwnedHead::of(head);
        self.when_known(call, move |host, call, snapshot| {
            host.for_service(call, routes::by_metadata(snapshot, &facts), &session)
        })
    }

    fn reading(&self, head: BlockHead<'_>, fields: &'static Fields) -> Result<Reading, Status> {
        let scanner = Scanner::new(fields)
            .max_message_bytes(self.shared.max_message_bytes)
            .encoding(routes::metadata_text(&head, "grpc-encoding")?);
        Ok(Reading {
            scanner: Box::new(scanner),
            by_authority: routes::by_authority(&self.shared.directory.snapshot(), &head),
            session: routes::metadata_text(&head, routes::SESSION)?.map(str::to_owned),
            fields,
            ended: false,
        })
    }

    /// The first message has told enough, or all it will.
    pub(super) fn by_message(&mut self, call: &mut Call, snapshot: &DirectorySnapshot) -> Verdict {
        let BodyState::Reading(reading) = &call.state else {
            return Verdict::More;
        };
        let service = match (reading.scanner.id(), &reading.by_authority) {
            (Some(id), _) => routes::by_id(snapshot, id),
            (None, Some(service)) => Ok(Arc::clone(service)),
            (None, None) => Err(routes::missing_id(reading.fields)),
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
        if let BodyState::Reading(reading) = std::mem::replace(&mut call.state, BodyState::Local) {
            call.state = BodyState::Forwarding(Inspector::Scan(reading.scanner));
        }
        self.for_service(call, Ok(service), &session)
    }

    fn for_service(
        &mut self,
        call: &mut Call,
        service: Result<Arc<str>, Status>,
        session: &str,
    ) -> Verdict {
        match service {
            Ok(service) => {
                let target = Target {
                    service,
                    session: None,
                    instance: call.metadata.pinned.clone(),
                };
                self.send_to(call, Arc::new(target.session(session)))
            }
            Err(status) => refuse(call, &status),
        }
    }

    /// It is known whom a call is for.
    pub(super) fn send_to(&mut self, call: &mut Call, target: Arc<Target>) -> Verdict {
        let (metadata, mesh) = (&call.metadata, &self.shared.mesh);
        let hedges = || mesh.hedges(&target.service, metadata.method.name(), metadata.declared);
        if target.instance.is_none() && hedges() {
            // One call here is one attempt: who sends several at once is behind.
            call.state = BodyState::Local;
            call.span = Span::none();
            return Verdict::To(LOCAL);
        }
        call.target = Some(target);
        self.pick(call)
    }

    /// Someone takes the call now, or later, or nobody does.
    fn pick(&mut self, call: &mut Call) -> Verdict {
        let Some(target) = &call.target else {
            return Verdict::Park;
        };
        let mesh = &self.shared.mesh;
        let mut alone = CallAffinity::default();
        let client = self.clients.get_mut(&call.client);
        let affinity = client.map_or(&mut alone, |client| &mut client.affinity);
        match mesh.pick(target, &call.tried, affinity, self.now) {
            Ok(attempt) => self.dispatch(call, attempt),
            Err(error) if error.is_transient() => self.pick_later(call, Duration::ZERO),
            Err(error) => refuse(call, &error.status()),
        }
    }

    fn pick_later(&self, call: &mut Call, pause: Duration) -> Verdict {
        let Some(target) = call.target.clone() else {
            return Verdict::Park;
        };
        let (mesh, tried) = (self.shared.mesh.clone(), call.tried.clone());
        self.later(call, async move {
            sleep(pause).await;
            let outcome = mesh.pick_or_wait(&target, &tried).await;
            move |host: &mut Self, call: &mut Call| match outcome {
                Ok(attempt) => host.dispatch(call, attempt),
                Err(error) => refuse(call, &error.status()),
            }
        })
    }

    pub(super) fn when_known(
        &self,
        call: &mut Call,
        decide: impl FnOnce(&mut Self, &mut Call, &DirectorySnapshot) -> Verdict + Send + 'static,
    ) -> Verdict {
        let shared = Arc::clone(&self.shared);
        self.later(call, async move {
            let patience = shared.mesh.options().queue_timeout;
            let snapshot = routes::wait_until_ready(&shared.directory, patience).await;
            move |host: &mut Self, call: &mut Call| match snapshot {
                Ok(snapshot) => decide(host, call, &snapshot),
                Err(status) => refuse(call, &status),
            }
        })
    }

    /// Parks a call until a future on the program's runtime has come to a decision.
    fn later<D>(&self, call: &mut Call, future: impl Future<Output = D> + Send + 'static) -> Verdict
    where
        D: FnOnce(&mut Self, &mut Call) -> Verdict + Send + 'static,
    {
        let (id, commands) = (call.id, self.commands.clone());
        let decided = async move {
            let decide = future.await;
            let decide = move |host: &mut Self, call: &mut Call| {
                call.parked = None;
                decide(host, call)
            };
            let command = Command::Do(Box::new(move |engine| engine.resume_with(id, decide)));
            // An engine that has ended has no call to decide about.
            commands.send(command).await.ok();
        };
        // The wait ends with the call.
        call.parked = Some(ParkedTask::of(&self.spawn(decided)));
        Verdict::Park
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let shutdown = self.shared.shutdown.clone();
        let until_shutdown = async move {
            shutdown.run_until_cancelled(future).await;
        };
        self.shared
            .tracker
            .spawn_on(until_shutdown, &self.shared.runtime)
    }

    fn dispatch(&mut self, call: &mut Call, attempt: CallAttempt) -> Verdict {
        let number = attempt.peer().number();
        if call.metadata.method.name() == PROCESS_TASK.trim_start_matches('/')
            && let (Some(target), BodyState::Forwarding(Inspector::Scan(scanner))) =
                (&call.target, &call.state)
            && let Some(task) = scanner.task()
        {
            let key = &attempt.peer().instance().key;
            let now = tokio::time::Instant::now();
            self.shared.tasks.record(task, &target.service, key, now);
        }
        self.track(attempt.peer());
        call.attempt = Some(attempt);
        Verdict::To(number)
    }

    /// Keeps where an endpoint is, until it leaves the registry.
    fn track(&mut self, peer: &Peer) {
        let number = peer.number();
        if self.peers.contains_key(&number) {
            return;
        }
        let mut named = Block::new();
        responses::add_instance(&mut named, &peer.instance().key.id);
        let known = PeerEntry {
            peer: peer.clone(),
            named,
        };
        self.peers.insert(number, known);
        let (mut aborted, commands) = (peer.aborted(), self.commands.clone());
        self.spawn(async move {
            while aborted.changed().await.is_ok() {
                let abort = Command::Do(Box::new(move |engine: &mut mesh_relay::Engine<Self>| {
                    engine.abort(number);
                }));
                commands.send(abort).await.ok();
            }
        });
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
    pub(super) fn retry_or_refuse(
        &mut self,
        call: &mut Call,
        attempt: CallAttempt,
        failure: Failure,
        error: &Error,
    ) -> Verdict {
        let attempted = RetryRequest {
            number: call.attempts,
            repeatable: failure.repeatable,
            method: call.metadata.method.name(),
            declared: call.metadata.declared,
        };
        let retry = failure.cause == Cause::Declined || attempt.may_retry(error, attempted);
        if !retry {
            let status = error.status();
            call.attempt = Some(attempt);
            return refuse(call, &status);
        }
        call.tried.push(attempt.peer().clone());
        drop(attempt);
        match std::mem::take(&mut call.pushback) {
            Pushback::Wait(pause) => self.pick_later(call, pause),
            _ if failure.unsent => self.pick(call),
            _ => self.pick_later(call, RETRY_PAUSE.mul_f64(jitter())),
        }
    }

    /// No connection could be had in time: that was no attempt.
    pub(super) fn connect_failed(&mut self, call: &mut Call, attempt: CallAttempt) -> Verdict {
        let patience = self.shared.mesh.options().queue_timeout;
        let since = *call.unconnected_since.get_or_insert(self.now);
        let waited = self.now.since(since);
        let (peer, service) = (
            attempt.peer().clone(),
            attempt.peer().instance().service.to_string(),
        );
        drop(attempt);
        if waited >= patience {
            let reason = peer
                .connect_error()
                .unwrap_or_else(|| "it has opened no further connection yet".to_owned());
            let error = Error::Unreachable {
                service,
                waited,
                reason,
            };
            return refuse(call, &error.status());
        }
        let again = call.tried.iter().any(|it| it.number() == peer.number());
        call.tried.push(peer);
        if again {
            // Nobody else is left: not as fast as it refuses.
            return self.pick_later(call, RETRY_PAUSE);
        }
        self.pick(call)
    }
}

/// ±20 %, so that many callers do not come back in step.
fn jitter() -> f64 {
    rand::RngExt::random_range(&mut rand::rng(), 0.8..=1.2)
}

/// Ends a call with a status of the mesh's.
pub(super) fn refuse(call: &mut Call, status: &Status) -> Verdict {
    call.refused = Some(status.code());
    Verdict::Refuse(if call.answered {
        responses::trailers(status)
    } else {
        responses::trailers_only(status, call.instance().as_deref())
    })
}

/// What a failed attempt is to the caller.
pub(super) fn error(instance: String, failure: Failure) -> Error {
    let reason = failure.cause.to_string();
    if let Cause::Http(status) = failure.cause {
        return Error::Http { instance, status };
    }
    if failure.unsent {
        return Error::Unsent { instance, reason };
    }
    let code = match failure.cause {
        Cause::Connect | Cause::Lost | Cause::Declined | Cause::Http(_) => Code::Unavailable,
        // gRPC's mapping of HTTP/2 error codes.
        Cause::Reset(0x7) => Code::Unavailable,
        Cause::Reset(0x8) => Code::Cancelled,
        Cause::Reset(0xb)
        | Cause::Memory
        | Cause::HeaderList
        | Cause::LargeRequest
        | Cause::LargeAnswer
        | Cause::LargeForClient(_) => Code::ResourceExhausted,
        Cause::Reset(0xc) => Code::PermissionDenied,
        Cause::Reset(_) | Cause::Malformed(_) => Code::Internal,
        Cause::Deadline => Code::DeadlineExceeded,
    };
    Error::ConnectionLost {
        instance,
        reason,
        code,
    }
}
