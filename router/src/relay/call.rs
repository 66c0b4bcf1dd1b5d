//! What the router keeps for a call in the engine.

use std::{net::IpAddr, sync::Arc, time::Duration};

use channel::{CallAttempt, Peer, Pushback, Target, Timestamp};
use discovery::Instance;
use http::{HeaderMap, HeaderValue};
use mesh_relay::{Id, hpack::Block};
use proto::MeshCause;
use service::{
    call_log::{CallHead, CallLog, FinishedCall},
    clients::CallPermit,
};
use tokio::task::{AbortHandle, JoinHandle};
use tonic::{Code, Status};

use super::spans::CallTrace;
use crate::{
    hedging::{Attempts, Registered},
    routing::{decision::MessageRoute, request::RequestMetadata},
    scanner::Inspector,
};

pub(crate) struct Call {
    pub(super) id: Id,
    /// The client's connection.
    pub(super) client: Id,
    pub(super) state: BodyState,
    pub(super) metadata: Arc<RequestMetadata>,
    pub(super) began: Timestamp,
    /// Requests sent.
    pub(super) attempts: usize,
    pub(super) tried: Vec<Peer>,
    pub(super) target: Option<Arc<Target>>,
    pub(super) attempt: Option<CallAttempt>,
    /// The local backend sends its attempts, more than one at a time.
    pub(super) hedged: Option<Registered>,
    /// Its answer goes to the client already.
    pub(super) answered: bool,
    /// The status that the mesh gave it.
    pub(super) refused: Option<Code>,
    /// Why the mesh, and not the service, ended it.
    pub(super) cause: Option<MeshCause>,
    /// What the last instance said about another attempt.
    pub(super) pushback: Pushback,
    /// Since when no instance could be connected to.
    pub(super) unconnected_since: Option<Timestamp>,
    /// The task that decides about it while it is parked.
    pub(super) parked: Option<ParkedTask>,
    pub(super) trace: CallTrace,
    /// The client behind it, where that is known.
    pub(super) address: Option<IpAddr>,
    /// Its place among its client's calls, where they are counted.
    pub(super) permit: Option<CallPermit>,
    /// With what its end is written down, if it is.
    pub(super) head: Option<Box<CallHead>>,
    /// Bytes of its request.
    pub(super) request_bytes: u64,
}

/// A task that decides about a parked call. It ends with the call: calls that are given up would leave
/// many waiting tasks behind.
pub(super) struct ParkedTask(AbortHandle);

impl ParkedTask {
    pub(super) fn of(task: &JoinHandle<()>) -> Self {
        Self(task.abort_handle())
    }
}

impl Drop for ParkedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How far the router has looked at the bytes of a request.
pub(super) enum BodyState {
    /// Not at all: the local backend does.
    Local,
    /// Its first message says where the call goes.
    Reading(MessageRoute),
    /// It is on its way, or about to be.
    Forwarding(Inspector),
}

impl Call {
    /// Why the mesh ended it, also where its attempts were the local backend's.
    pub(super) fn cause(&self) -> Option<MeshCause> {
        self.cause.or_else(|| match &self.hedged {
            Some(hedged) => hedged.attempts().cause,
            None => matches!(self.state, BodyState::Local).then_some(MeshCause::Own),
        })
    }

    /// The router has answered itself, and this block has its status: it may tell a cause.
    pub(super) fn answered_here(&mut self, block: &Block) {
        if self.hedged.is_some() {
            return;
        }
        let mut fields = HeaderMap::new();
        for name in [Status::GRPC_STATUS, Status::GRPC_STATUS_DETAILS] {
            let field = block.named(name.as_str().as_bytes());
            let value = field.and_then(|field| HeaderValue::from_bytes(field.value).ok());
            let Some(value) = value else { return };
            fields.insert(name, value);
        }
        let status = Status::from_header_map(&fields);
        self.cause = status.as_ref().and_then(MeshCause::of);
    }

    /// The ID of the instance it is on.
    pub(super) fn instance(&self) -> Option<String> {
        self.attempt
            .as_ref()
            .map(|attempt| attempt.peer().instance().key.id.to_string())
    }

    /// The instance that it is on, or was on last, and its number of attempts.
    pub(super) fn last_instance(&self) -> (Option<Arc<Instance>>, usize) {
        match &self.hedged {
            Some(hedged) => {
                let Attempts {
                    count, instance, ..
                } = hedged.attempts();
                (instance, count)
            }
            None => {
                let present = self.attempt.as_ref().map(CallAttempt::peer);
                let peer = present.or_else(|| self.tried.last());
                (peer.map(Peer::instance), self.attempts)
            }
        }
    }

    /// Writes down how it ended.
    pub(super) fn log(&self, log: &CallLog, status: i32, duration: Duration) {
        // A probe is no call.
        let method = self.metadata.method.name();
        if !log.is_on() || (self.head.is_none() && !method.contains('/')) {
            return;
        }
        let (last, attempts) = self.last_instance();
        let call = FinishedCall {
            method,
            service: self.target.as_ref().map(|it| &*it.service),
            instance: last.as_ref().map(|it| &*it.key.id),
            status,
            cause: self.cause(),
            duration,
            request_bytes: Some(self.request_bytes),
            attempts,
            trace: self.trace.id(),
            response_bytes: None,
        };
        log.end(self.head.as_deref(), &call);
    }
}
