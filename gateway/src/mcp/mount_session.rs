//! Sessions of earlier revisions with a mounted server. Each holds a stream to one mount. When that goes
//! away, or the gateway does, the session is begun again by its first message.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp::rpc::{self, Message, Notification, Params, Request, RpcError, error_bytes, id_key};
use parking_lot::Mutex;
use proto::mesh::v1::McpMessage;
use serde_json::{json, value::RawValue};
use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use super::{
    McpServer,
    answer::{self, Events},
    call::Permit,
    legacy::{name_session, session_gone},
    methods::{Asked, Asker, Failure},
    mounted::{Mount, WAITING, rpc_answer, unavailable},
    post::{Takes, id_in_use},
    scope::Scope,
    sessions::{MAX_IN_FLIGHT, MAX_INITIALIZE, MAX_RESOURCES, MAX_URI, Session},
};

/// How long a message waits for room in its session's stream.
const PATIENCE: Duration = Duration::from_secs(1);

/// The session with a mounted server that a session of ours stands for.
#[derive(Debug)]
pub(crate) struct MountSession {
    /// Its messages, until a task reads them.
    from: Mutex<Option<Streaming<McpMessage>>>,
    to: mpsc::Sender<McpMessage>,
    /// Who waits for what belongs to a request.
    waiting: Mutex<HashMap<Box<str>, mpsc::Sender<Bytes>>>,
}

/// A request that waits, until this is dropped.
struct Waiting {
    session: Arc<Session>,
    key: Box<str>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(mount) = &self.session.mount {
            mount.waiting.lock().remove(&self.key);
        }
    }
}

impl Waiting {
    /// Waits for what belongs to a request. `None` when one has its id already, or too many wait.
    fn begin(session: &Arc<Session>, key: Box<str>) -> Option<(Self, mpsc::Receiver<Bytes>)> {
        let mut waiting = session.mount.as_ref()?.waiting.lock();
        if waiting.len() >= MAX_IN_FLIGHT || waiting.contains_key(&key) {
            return None;
        }
        let (send, receive) = mpsc::channel(WAITING);
        waiting.insert(key.clone(), send);
        let session = Arc::clone(session);
        Some((Self { session, key }, receive))
    }
}

impl MountSession {
    /// Sends a message to the server.
    pub(crate) async fn send(&self, message: Bytes) -> bool {
        let message = McpMessage {
            message: message.into(),
            related_request: Vec::new(),
        };
        self.to.send(message).await.is_ok()
    }

    /// Who waits for a message of the server: by the request that it answers or belongs to.
    fn recipient(&self, message: &McpMessage) -> (Option<mpsc::Sender<Bytes>>, bool) {
        let answered = match rpc::parse_one(&message.message) {
            Ok(Message::Response(response)) => Some(id_key(response.id)),
            _ => None,
        };
        let mut waiting = self.waiting.lock();
        if let Some(key) = answered {
            return (waiting.remove(&key), true);
        }
        let related: Option<&RawValue> = serde_json::from_slice(&message.related_request).ok();
        let sender = related.and_then(|id| waiting.get(&id_key(id)).cloned());
        (sender, false)
    }
}

impl McpServer {
    /// Opens the session with a mounted server.
    pub(super) async fn mounted_session(
        &self,
        mount: &Mount,
        caller: Option<&Arc<str>>,
    ) -> Result<MountSession, Response> {
        let connected = self
            .mounts
            .connect(&mount.service, Self::metadata(caller))
            .await;
        let (to, from) = connected.map_err(|error| {
            let error = unavailable(&mount.service, &error);
            answer::error(StatusCode::SERVICE_UNAVAILABLE, None, &error)
        })?;
        Ok(MountSession {
            from: Mutex::new(Some(from)),
            to,
            waiting: Mutex::default(),
        })
    }

    /// `initialize` of a mounted server: its answer is its own.
    pub(super) async fn mounted_initialize(
        self: &Arc<Self>,
        asker: &Asker,
        mount: &Mount,
        mut session: Session,
        request: &Request<'_>,
        bytes: &Bytes,
    ) -> Response {
        match self.mounted_session(mount, asker.caller()).await {
            Ok(mount) => session.mount = Some(mount),
            Err(refusal) => return refusal,
        }
        if bytes.len() <= MAX_INITIALIZE {
            session.initialize = Some(Bytes::copy_from_slice(bytes));
        }
        let session = Arc::new(session);
        self.pump(&session);
        match first_answer(&session, request.id, bytes.clone()).await {
            Some(message) => {
                if let Err(refusal) = self.insert(&session) {
                    session.end();
                    return refusal;
                }
                self.keep(&session).await;
                let mut answer = answer::json(StatusCode::OK, message);
                name_session(&mut answer, &session);
                answer
            }
            None => {
                session.end();
                let text = format!("the server of {} has gone away", mount.service);
                let error = RpcError::internal(text);
                answer::error(StatusCode::SERVICE_UNAVAILABLE, Some(request.id), &error)
            }
        }
    }

    /// Another session with the mounted server of one of ours.
    pub(super) async fn mount_of(&self, session: &Session) -> Result<MountSession, Response> {
        let scope = Scope {
            service: session.service.clone(),
            listing: None,
        };
        match self.mount(&scope).await {
            Some(mount) => self.mounted_session(&mount, session.caller.as_ref()).await,
            None => Err(server_away()),
        }
    }

    /// Begins the session with a mounted server once more, as its client did.
    pub(super) async fn begin_again(
        self: &Arc<Self>,
        session: &Arc<Session>,
        first: &Bytes,
    ) -> Result<(), Response> {
        self.pump(session);
        let Ok(Message::Request(request)) = rpc::parse_one(first) else {
            return Err(session_gone());
        };
        let answer = first_answer(session, request.id, first.clone()).await;
        let is_begun = answer.is_some_and(|answer| {
            let read = rpc::parse_one(&answer);
            matches!(read, Ok(Message::Response(response)) if response.outcome.is_ok())
        });
        let Some(mount) = session.mount.as_ref().filter(|_| is_begun) else {
            session.end();
            return Err(server_away());
        };
        let mut messages = vec![json!({"method": "notifications/initialized"})];
        if let Some(level) = &*session.level.lock() {
            let params = json!({ "level": level });
            messages.push(json!({"method": "logging/setLevel", "params": params}));
        }
        for uri in &*session.resources.lock() {
            let params = json!({ "uri": uri });
            messages.push(json!({"method": "resources/subscribe", "params": params}));
        }
        for (at, mut message) in messages.into_iter().enumerate() {
            message["jsonrpc"] = "2.0".into();
            if at > 0 {
                // Nobody waits for the answer.
                message["id"] = format!("mesh-again-{at}").into();
            }
            if !mount.send(message.to_string().into()).await {
                session.end();
                return Err(server_away());
            }
        }
        Ok(())
    }

    /// Takes the messages of a mounted server to who waits for them, as long as the session lives.
    pub(super) fn pump(self: &Arc<Self>, session: &Arc<Session>) {
        let Some(mut from) = session
            .mount
            .as_ref()
            .and_then(|mount| mount.from.lock().take())
        else {
            return;
        };
        let (server, session) = (Arc::clone(self), Arc::clone(session));
        self.context.tracker.spawn(async move {
            let ended = session.ended.clone();
            let pumping = async {
                while let Ok(Some(message)) = from.message().await {
                    deliver(&session, message).await;
                }
            };
            let is_lost = ended.run_until_cancelled(pumping).await.is_some();
            drop(from);
            if let Some(mount) = &session.mount {
                // Who waits is told that nothing comes.
                mount.waiting.lock().clear();
            }
            if is_lost {
                server.go_on(&session).await;
            } else {
                server.sessions.close_this(&session);
            }
        });
    }

    /// A mount has gone away: its session goes on at another one, if there is any.
    async fn go_on(self: &Arc<Self>, session: &Arc<Session>) {
        let _turn = self.sessions.restoring(&session.id).await;
        let is_open = self.sessions.close_this(session);
        if !is_open || !session.can_move() || self.context.draining.is_cancelled() {
            return;
        }
        let record = session.record(self.sessions.gateway());
        if self.restored(&session.id, &record).await.is_err() {
            tracing::info!(session = &*session.id, "the session's server has gone away");
        }
    }

    /// A message of a legacy session with a mounted server.
    pub(super) async fn mounted_message(
        self: &Arc<Self>,
        asker: &Asker,
        session: &Arc<Session>,
        message: &Message<'_>,
        bytes: &Bytes,
        takes: Takes,
    ) -> Response {
        let Some(mount) = &session.mount else {
            return session_gone();
        };
        let request = match message {
            Message::Request(request) => request,
            Message::Notification(_) | Message::Response(_) => {
                let is_sent = mount.send(bytes.clone()).await;
                if let Message::Notification(notification) = message {
                    cancel(mount, notification);
                }
                return match is_sent {
                    true => answer::accepted(),
                    false => session_gone(),
                };
            }
        };
        let permit = match self.legacy_permit(asker, request).await {
            Ok(Allowed::Passed(permit)) => permit,
            Ok(Allowed::Answered(page)) => return answer::cached(request.id, &page),
            Err(Failure::Rpc(error)) => {
                return answer::error(StatusCode::OK, Some(request.id), &error);
            }
            Err(Failure::Denied(denial)) => return self.deny(&denial),
        };
        let Some((waiting, mut receive)) = Waiting::begin(session, id_key(request.id)) else {
            return answer::error(StatusCode::BAD_REQUEST, Some(request.id), &id_in_use());
        };
        if !mount.send(bytes.clone()).await {
            return session_gone();
        }
        if remember(session, request) {
            self.keep(session).await;
        }
        let busy = session.busy();
        let first = loop {
            match receive.recv().await {
                Some(message) if rpc_answer(&message) => {
                    return answer::json(StatusCode::OK, message);
                }
                Some(message) if takes.events => break message,
                Some(_) => {}
                None => return gone_away(request.id),
            }
        };
        let (relay, messages) = mpsc::channel(WAITING);
        let id = request.id.to_owned();
        let work = Box::pin(async move {
            let (_waiting, _busy, _permit) = (waiting, busy, permit);
            while let Some(message) = receive.recv().await {
                if rpc_answer(&message) {
                    return Some(message);
                }
                if relay.send(message).await.is_err() {
                    return None;
                }
            }
            Some(error_bytes(Some(&id), &RpcError::internal(UNANSWERED)))
        });
        Events::new(messages, work, self.quiet)
            .beginning(Some(&first))
            .response()
    }

    /// A message of a session of 2024-11-05, whose answer goes into its stream.
    pub(super) async fn old_mounted(
        &self,
        asker: &Asker,
        session: &Session,
        mount: &MountSession,
        bytes: Bytes,
    ) {
        if let Ok(Message::Request(request)) = rpc::parse_one(&bytes) {
            let id = request.id;
            let refused = match self.legacy_permit(asker, &request).await {
                // The answer is not waited for here, so the call counts for its rate alone.
                Ok(Allowed::Passed(_)) => None,
                Ok(Allowed::Answered(page)) => Some(rpc::response_bytes(id, &page)),
                Err(failure) => Some(error_bytes(Some(id), &failure.into_rpc())),
            };
            if let Some(refused) = refused {
                session.send_all(refused).await;
                return;
            }
        }
        mount.send(bytes).await;
    }

    async fn legacy_permit(
        &self,
        asker: &Asker,
        request: &Request<'_>,
    ) -> Result<Allowed, Failure> {
        if asker.grant.is_none() {
            return Ok(Allowed::Passed(None));
        }
        let params = Params::read(request.params)?;
        let meta = rpc::Meta::default();
        let asked = Asked {
            request,
            params: &params,
            meta: &meta,
        };
        let Some(mount) = self.mount(&asker.scope).await else {
            return Err(RpcError::internal(SERVER_AWAY).into());
        };
        let permit = self.may_exchange(asker, &mount, &HeaderMap::new(), asked)?;
        match self.own_page(asker, &mount, asked) {
            Some(page) => Ok(Allowed::Answered(page?)),
            None => Ok(Allowed::Passed(permit)),
        }
    }
}

/// What becomes of a request to a mounted server.
enum Allowed {
    /// It goes to the server.
    Passed(Option<Permit>),
    /// It is answered here.
    Answered(Bytes),
}

/// Sends the first message of a session, and waits for its answer.
async fn first_answer(session: &Arc<Session>, id: &RawValue, first: Bytes) -> Option<Bytes> {
    let (_waiting, mut receive) = Waiting::begin(session, id_key(id))?;
    let mount = session.mount.as_ref()?;
    if !mount.send(first).await {
        return None;
    }
    while let Some(message) = receive.recv().await {
        if rpc_answer(&message) {
            return Some(message);
        }
    }
    None
}

/// Remembers what a server is told of its session. Whether that is something new.
fn remember(session: &Session, request: &Request<'_>) -> bool {
    let Ok(params) = Params::read(request.params) else {
        return false;
    };
    let uri = || params.uri().ok().filter(|uri| uri.len() <= MAX_URI);
    match &*request.method {
        "resources/subscribe" => {
            let mut resources = session.resources.lock();
            let uri = uri().filter(|_| resources.len() < MAX_RESOURCES);
            uri.is_some_and(|uri| resources.insert(uri.into_owned()))
        }
        "resources/unsubscribe" => {
            let uri = uri();
            uri.is_some_and(|uri| session.resources.lock().remove(&*uri))
        }
        "logging/setLevel" => {
            let level = params.level.and_then(rpc::text);
            let level = level.filter(|level| level.len() <= 16);
            let level = level.map(std::borrow::Cow::into_owned);
            let mut known = session.level.lock();
            let is_new = level.is_some() && *known != level;
            if is_new {
                *known = level;
            }
            is_new
        }
        _ => false,
    }
}

/// Who waits for a request that its client has cancelled waits no longer.
fn cancel(mount: &MountSession, notification: &Notification<'_>) {
    if notification.method == "notifications/cancelled"
        && let Ok(params) = Params::read(notification.params)
        && let Some(id) = params.request_id
    {
        mount.waiting.lock().remove(&id_key(id));
    }
}

/// Takes one message of a mounted server to who waits for it, else into the session's stream.
async fn deliver(session: &Session, message: McpMessage) {
    let Some(mount) = &session.mount else {
        return;
    };
    match mount.recipient(&message) {
        (Some(waiting), _) => drop(waiting.send(message.message.into()).await),
        // Nobody waits for it any more.
        (None, true) if !session.is_old() => {}
        (None, _) => {
            let sent = session.send_all(message.message.into());
            match session.is_old() {
                true => drop(sent.await),
                // A stream that nobody reads does not hold up the answers to requests.
                false => drop(timeout(PATIENCE, sent).await),
            }
        }
    }
}

const UNANSWERED: &str =
    "the request has no answer: it was cancelled, or the mounted server has gone away";

fn gone_away(id: &RawValue) -> Response {
    answer::error(StatusCode::OK, Some(id), &RpcError::internal(UNANSWERED))
}

/// A session cannot go on now, but later it may.
const SERVER_AWAY: &str = "the session's server is away now: try again";

fn server_away() -> Response {
    answer::unavailable(SERVER_AWAY)
}
