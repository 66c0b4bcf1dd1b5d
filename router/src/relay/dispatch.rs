//! Carries out what routing decides: sends a call now, later, or again after a failed attempt.

use std::{sync::Arc, time::Duration};

use channel::{CallAffinity, CallAttempt, Error, Peer, RetryRequest, Target};
use directory::DirectorySnapshot;
use mesh_relay::{Cause, Engine, Failure, Verdict, driver::Command, hpack::Block};
use proto::{
    MeshCause,
    error_info::{self, Reason},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tonic::{Code, Status};

use super::{
    call::{BodyState, Call, ParkedTask},
    host::{LOCAL, PeerEntry, RouterHost},
    responses,
};
use crate::{
    routing::{
        decision::{self, Decision, MessageRoute},
        failure,
        head::RequestHead,
        retry,
    },
    scanner::Inspector,
};

/// The method whose tasks `GetTaskStatus` asks for later.
const PROCESS_TASK: &str = "agentplatform.TaskWorker/ProcessTask";

impl RouterHost {
    /// A call begins whose route is not in the cache.
    pub(super) fn route(&mut self, call: &mut Call, head: RequestHead<'_>) -> Verdict {
        let snapshot = self.shared.directory.snapshot();
        let decision = match decision::by_head(head, call.metadata.pinned.as_ref(), &snapshot) {
            Ok(Decision::ReadMessage(fields)) => {
                let limit = self.shared.max_message_bytes;
                MessageRoute::new(head, fields, &snapshot, limit).map(|route| {
                    call.state = BodyState::Reading(route);
                    Decision::ReadMessage(fields)
                })
            }
            Ok(Decision::AwaitDirectory) => {
                let block = head.block().clone();
                return self.await_directory(call, move |host, call, snapshot| {
                    let pinned = call.metadata.pinned.as_ref();
                    let decision = decision::by_head(RequestHead::new(&block), pinned, snapshot);
                    host.follow(call, decision)
                });
            }
            decision => decision,
        };
        let verdict = self.follow(call, decision);
        if let Some(target) = &call.target {
            self.route_cache
                .keep(head, &snapshot, &call.metadata, target);
        }
        verdict
    }

    /// The first message may have told where the call goes.
    pub(super) fn route_by_message(
        &mut self,
        call: &mut Call,
        snapshot: &DirectorySnapshot,
    ) -> Verdict {
        let BodyState::Reading(route) = &call.state else {
            return Verdict::More;
        };
        let wants_session = |service: &str| self.shared.mesh.wants_session(service);
        let decision = route.decide(call.metadata.pinned.as_ref(), snapshot, wants_session);
        if let Ok(Decision::AwaitDirectory) = decision {
            return self.await_directory(call, Self::route_by_message);
        }
        if let Ok(Decision::Forward(_)) = decision
            && let BodyState::Reading(route) = std::mem::replace(&mut call.state, BodyState::Local)
        {
            call.state = BodyState::Forwarding(Inspector::Scan(route.into_scanner()));
        }
        self.follow(call, decision)
    }

    fn follow(&mut self, call: &mut Call, decision: Result<Decision, Status>) -> Verdict {
        match decision {
            Ok(Decision::Local) => {
                call.state = BodyState::Local;
                Verdict::To(LOCAL)
            }
            Ok(Decision::Forward(target)) => self.send_to(call, Arc::new(target)),
            Ok(Decision::ReadMessage(_)) => Verdict::More,
            Ok(Decision::AwaitDirectory) => {
                debug_assert!(false, "a directory that is ready is not waited for");
                let (reason, words) =
                    (Reason::RegistryUnreachable, "the registry has not answered");
                refuse(
                    call,
                    &error_info::status(Code::Unavailable, reason, words, []),
                )
            }
            Err(status) => refuse(call, &status),
        }
    }

    /// Sends a call to its target, by the local backend if it is hedged.
    pub(super) fn send_to(&mut self, call: &mut Call, target: Arc<Target>) -> Verdict {
        let (metadata, mesh) = (&call.metadata, &self.shared.mesh);
        let hedges = || mesh.hedges(&target.service, metadata.method.name(), metadata.idempotent);
        let hedged = target.instance.is_none() && hedges();
        call.target = Some(Arc::clone(&target));
        if hedged {
            let task = task(call).map(str::to_owned);
            call.hedged = Some(self.shared.hedged.register(target, task));
            return Verdict::To(LOCAL);
        }
        self.pick(call)
    }

    /// Picks an instance: now, or once one has room.
    fn pick(&mut self, call: &mut Call) -> Verdict {
        let Some(target) = &call.target else {
            debug_assert!(false, "an instance is picked for a target");
            return Verdict::Park;
        };
        let mesh = &self.shared.mesh;
        let mut alone = CallAffinity::default();
        let client = self.clients.get_mut(&call.client);
        let affinity = client.map_or(&mut alone, |client| &mut client.affinity);
        match mesh.pick(target, &call.tried, affinity, self.now) {
            Ok(attempt) => self.dispatch(call, attempt),
            Err(error) if error.is_transient() => self.pick_later(call, Duration::ZERO),
            Err(error) => refuse_for(call, &error),
        }
    }

    fn pick_later(&self, call: &mut Call, pause: Duration) -> Verdict {
        let Some(target) = call.target.clone() else {
            debug_assert!(false, "an instance is picked for a target");
            return Verdict::Park;
        };
        let (mesh, tried) = (self.shared.mesh.clone(), call.tried.clone());
        self.later(call, async move {
            sleep(pause).await;
            let outcome = mesh.pick_or_wait(&target, &tried).await;
            move |host: &mut Self, call: &mut Call| match outcome {
                Ok(attempt) => host.dispatch(call, attempt),
                Err(error) => refuse_for(call, &error),
            }
        })
    }

    /// Parks a call until the registry has answered.
    fn await_directory(
        &self,
        call: &mut Call,
        decide: impl FnOnce(&mut Self, &mut Call, &DirectorySnapshot) -> Verdict + Send + 'static,
    ) -> Verdict {
        let shared = Arc::clone(&self.shared);
        self.later(call, async move {
            let limit = shared.mesh.options().queue_timeout;
            let snapshot = shared.directory.ready_snapshot(limit).await;
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
            let command = Command::Do(Box::new(move |engine| engine.resume(id, decide)));
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
        if let (Some(target), Some(task)) = (&call.target, task(call)) {
            let key = &attempt.peer().instance().key;
            let tasks = &self.shared.tasks;
            tasks.record(task, &target.service, key, Instant::now());
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
        let entry = PeerEntry {
            peer: peer.clone(),
            named,
        };
        self.peers.insert(number, entry);
        let (mut aborted, commands) = (peer.aborted(), self.commands.clone());
        self.spawn(async move {
            while aborted.changed().await.is_ok() {
                let abort = Command::Do(Box::new(move |engine: &mut Engine<Self>| {
                    engine.abort(number);
                }));
                commands.send(abort).await.ok();
            }
        });
        let (gone, commands) = (peer.clone().gone(), self.commands.clone());
        self.spawn(async move {
            gone.await;
            let forget = Command::Do(Box::new(move |engine: &mut Engine<Self>| {
                engine.retire(number);
                engine.host().peers.remove(&number);
            }));
            commands.send(forget).await.ok();
        });
    }

    /// An attempt failed that reached an instance, or may have.
    pub(super) fn retry_or_refuse(
        &mut self,
        call: &mut Call,
        attempt: CallAttempt,
        failure: Failure,
    ) -> Verdict {
        let instance = attempt.peer().instance().key.id.to_string();
        let error = failure::attempt_error(instance, failure);
        // The retry budget was asked when the answer was declined.
        let may_retry = failure.cause == Cause::Declined
            || attempt.may_retry(&error, call.retry_request(failure.repeatable));
        let pushback = std::mem::take(&mut call.pushback);
        let pause = retry::after_failure(may_retry, failure.unsent, pushback, call.attempts);
        let Some(pause) = pause else {
            let retries = !may_retry
                && attempt.retries_exhausted(&error, call.retry_request(failure.repeatable));
            call.attempt = Some(attempt);
            let verdict = refuse_for(call, &error);
            if retries {
                call.cause = Some(MeshCause::Retries);
            }
            return verdict;
        };
        call.tried.push(attempt.peer().clone());
        drop(attempt);
        self.pick_after(call, pause)
    }

    /// No connection could be had in time: that was no attempt.
    pub(super) fn connect_failed(&mut self, call: &mut Call, attempt: CallAttempt) -> Verdict {
        let limit = self.shared.mesh.options().queue_timeout;
        let since = *call.unconnected_since.get_or_insert(self.now);
        let waited = self.now.since(since);
        let peer = attempt.peer().clone();
        drop(attempt);
        let tried_before = call.tried.iter().any(|it| it.number() == peer.number());
        let Some(pause) = retry::after_connect_failure(waited, limit, tried_before) else {
            let reason = peer
                .connect_error()
                .unwrap_or_else(|| "it has opened no further connection yet".to_owned());
            let error = Error::Unreachable {
                service: peer.instance().service.to_string(),
                waited,
                reason,
            };
            return refuse_for(call, &error);
        };
        call.tried.push(peer);
        self.pick_after(call, pause)
    }

    fn pick_after(&mut self, call: &mut Call, pause: Duration) -> Verdict {
        if pause.is_zero() {
            self.pick(call)
        } else {
            self.pick_later(call, pause)
        }
    }
}

impl Call {
    /// What the retry policy asks about another attempt.
    pub(super) fn retry_request(&self, repeatable: bool) -> RetryRequest<'_> {
        RetryRequest {
            number: self.attempts,
            repeatable,
            method: self.metadata.method.name(),
            declared: self.metadata.idempotent,
        }
    }
}

/// The id of the task that a call sends to a worker.
fn task(call: &Call) -> Option<&str> {
    match &call.state {
        BodyState::Forwarding(inspector) if call.metadata.method.name() == PROCESS_TASK => {
            inspector.task()
        }
        _ => None,
    }
}

/// Ends a call with a status of the mesh's.
pub(super) fn refuse(call: &mut Call, status: &Status) -> Verdict {
    call.cause = MeshCause::of(status).or(Some(MeshCause::Own));
    end_with(call, status)
}

/// Ends a call that got no answer, with the status of the error.
fn refuse_for(call: &mut Call, error: &Error) -> Verdict {
    call.cause = error.cause();
    end_with(call, &error.status())
}

fn end_with(call: &mut Call, status: &Status) -> Verdict {
    call.refused = Some(status.code());
    Verdict::Refuse(if call.answered {
        responses::trailers(status)
    } else {
        responses::trailers_only(status, call.instance().as_deref())
    })
}
