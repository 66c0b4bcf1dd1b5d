//! `/mcp/{mount}`: messages of a mounted MCP server, unchanged. The mount crosses eras; here the headers
//! are checked, and a legacy session holds its stream to one mount.

use std::{collections::HashMap, sync::Arc};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp::{
    CatalogView,
    rpc::{self, Message, Request, RpcError, code, error_bytes, id_key},
};
use parking_lot::Mutex;
use proto::mesh::v1::McpMessage;
use serde_json::{Map, Value, value::RawValue};
use tokio::sync::mpsc;
use tonic::{Streaming, metadata::MetadataMap};

use super::{
    McpServer,
    answer::{self, Events},
    audit::Operation,
    auth::Denial,
    call::Permit,
    headers,
    legacy::{name_session, session_gone},
    methods::{Asked, Asker},
    post::{Takes, status},
    scope::Scope,
    sessions::Session,
};

/// Messages of one request that may wait for its client.
const WAITING: usize = 64;
/// Metadata that names the caller.
const CALLER: &str = "x-mesh-caller";

/// A mounted server.
pub(crate) struct Mount {
    /// Its Consul name.
    service: Arc<str>,
    view: Arc<CatalogView>,
}

/// A request on its way to a mount, and what it needs for its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) id: &'a RawValue,
    pub(crate) takes: Takes,
    pub(crate) operation: Operation,
    pub(crate) permit: Option<Permit>,
}

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

impl MountSession {
    /// Sends a message to the server. What comes for a request goes to who waits for it.
    pub(crate) async fn send(
        &self,
        message: Bytes,
        waiting: Option<(Box<str>, mpsc::Sender<Bytes>)>,
    ) -> bool {
        if let Some((key, sender)) = waiting {
            self.waiting.lock().insert(key, sender);
        }
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
    /// The mounted server that a scope is.
    pub(super) async fn mount(&self, scope: &Scope) -> Option<Mount> {
        let id = scope.service.as_deref()?;
        let view = self.view(scope).await.ok().filter(|view| view.mount)?;
        let snapshot = self.catalog.snapshot();
        let mut services = snapshot.services();
        let service = services.find(|it| &*it.name == id || it.public_id == id)?;
        Some(Mount {
            service: Arc::clone(&service.name),
            view,
        })
    }

    fn metadata(asker: &Asker) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(caller) = asker.caller().and_then(|caller| caller.parse().ok()) {
            metadata.insert(CALLER, caller);
        }
        if let Some(context) = telemetry::TraceContext::current()
            && let Ok(value) = context.to_string().parse()
        {
            metadata.insert(telemetry::TRACEPARENT, value);
        }
        metadata
    }

    /// A message to a mount at its own path: a request of the modern era, or one without a session.
    pub(super) async fn mounted_request(
        self: &Arc<Self>,
        asker: &Asker,
        mount: &Mount,
        headers: &HeaderMap,
        asked: Asked<'_>,
        bytes: &Bytes,
        mut exchange: Exchange<'_>,
    ) -> Response {
        let id = exchange.id;
        let bad = |error: &RpcError| answer::error(StatusCode::BAD_REQUEST, Some(id), error);
        if !asker.era.is_modern() {
            let text = "the header Mcp-Session-Id is missing: send initialize first";
            exchange.operation.end("-32600");
            return bad(&RpcError::new(code::INVALID_REQUEST, text));
        }
        match self.may_exchange(asker, &mount.view, headers, asked) {
            Ok(permit) => exchange.permit = permit,
            Err(Refused::Rpc(error)) => return bad(&error),
            Err(Refused::Denied(denial)) => return self.deny(&denial),
        }
        self.mounted_call(asker, &mount.service, bytes.clone(), exchange)
            .await
    }

    /// Whether a request may go to a mount.
    fn may_exchange(
        &self,
        asker: &Asker,
        view: &Arc<CatalogView>,
        headers: &HeaderMap,
        asked: Asked<'_>,
    ) -> Result<Option<Permit>, Refused> {
        if let Some(grant) = &asker.grant {
            grant.may_read()?;
        }
        if asked.request.method != "tools/call" {
            return Ok(None);
        }
        let name = asked.params.name()?;
        // One that is not known here is for its server to refuse.
        if let Some(tool) = view.tool(&name) {
            if let Some(grant) = &asker.grant
                && !grant.may_call(tool)?
            {
                return Err(RpcError::params(format!("unknown tool: {}", tool.name)).into());
            }
            let params = self.lists.param_headers(view, &name);
            if !params.is_empty() && asker.era.is_modern() {
                headers::check_params(headers, &params, &asked.params.arguments()?)?;
            }
        } else if asker.grant.as_ref().is_some_and(|grant| grant.filters()) {
            let name = super::methods::shown(&name);
            return Err(RpcError::params(format!("unknown tool: {name}")).into());
        }
        self.permit(asker)
            .map(Some)
            .map_err(|failure| match failure {
                super::methods::Failure::Rpc(error) => Refused::Rpc(error),
                super::methods::Failure::Denied(denial) => Refused::Denied(denial),
            })
    }

    /// One request of the modern era: its messages until its answer.
    pub(super) async fn mounted_call(
        self: &Arc<Self>,
        asker: &Asker,
        service: &Arc<str>,
        message: Bytes,
        exchange: Exchange<'_>,
    ) -> Response {
        let Exchange {
            id,
            takes,
            mut operation,
            permit,
        } = exchange;
        let called = self
            .mounts
            .call(service, message, Self::metadata(asker))
            .await;
        let mut messages = match called {
            Ok(messages) => messages,
            Err(error) => {
                operation.end("-32603");
                return answer::error(StatusCode::OK, Some(id), &unavailable(service, &error));
            }
        };
        // What comes before the answer needs a stream to go into.
        let first = loop {
            match messages.message().await {
                Ok(Some(message)) => {
                    let (is_answer, http) = answers(&message.message, asker);
                    if is_answer {
                        operation.end(if http == StatusCode::OK {
                            "ok"
                        } else {
                            "error"
                        });
                        return answer::json(http, message.message);
                    }
                    if takes.events {
                        break Bytes::from(message.message);
                    }
                }
                Ok(None) => {
                    operation.end("-32603");
                    let error = RpcError::internal("the server's answer is missing");
                    return answer::error(StatusCode::OK, Some(id), &error);
                }
                Err(error) => {
                    operation.end("-32603");
                    return answer::error(StatusCode::OK, Some(id), &unavailable(service, &error));
                }
            }
        };
        let (send, receive) = mpsc::channel(WAITING);
        let (id, service) = (id.to_owned(), Arc::clone(service));
        let draining = self.context.draining.clone();
        let is_listening = operation.is("subscriptions/listen");
        let open = self.metrics.stream("mount");
        let work = Box::pin(async move {
            let (_open, _permit) = (open, permit);
            let exchanged = async {
                loop {
                    match messages.message().await {
                        Ok(Some(message)) if rpc_answer(&message.message) => {
                            return Some(message.message.into());
                        }
                        Ok(Some(message)) => {
                            if send.send(message.message.into()).await.is_err() {
                                return None;
                            }
                        }
                        Ok(None) => {
                            let error = RpcError::internal("the server's answer is missing");
                            return Some(error_bytes(Some(&id), &error));
                        }
                        Err(error) => {
                            return Some(error_bytes(Some(&id), &unavailable(&service, &error)));
                        }
                    }
                }
            };
            let last = if is_listening {
                // Such a stream ends with its result.
                match draining.run_until_cancelled(exchanged).await {
                    Some(last) => last,
                    None => Some(super::listen::ended(&id)),
                }
            } else {
                exchanged.await
            };
            operation.end("ok");
            last
        });
        Events::new(receive, work, self.quiet)
            .beginning(Some(&first))
            .response()
    }

    /// Opens the session with a mounted server.
    pub(super) async fn mounted_session(
        &self,
        asker: &Asker,
        mount: &Mount,
    ) -> Result<MountSession, Response> {
        let connected = self
            .mounts
            .connect(&mount.service, Self::metadata(asker))
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
        match self.mounted_session(asker, mount).await {
            Ok(mount) => session.mount = Some(mount),
            Err(refusal) => return refusal,
        }
        let session = match self.admit(session).await {
            Ok(session) => session,
            Err(refusal) => return refusal,
        };
        self.pump(&session);
        let key = id_key(request.id);
        let (send, mut receive) = mpsc::channel(WAITING);
        if let Some(opened) = &session.mount {
            opened.send(bytes.clone(), Some((key.clone(), send))).await;
        }
        let _waiting = Waiting {
            session: Arc::clone(&session),
            key,
        };
        while let Some(message) = receive.recv().await {
            if rpc_answer(&message) {
                let mut answer = answer::json(StatusCode::OK, message);
                name_session(&mut answer, &session);
                return answer;
            }
        }
        self.sessions.close(&session.id);
        let error = RpcError::internal(format!("the server of {} has gone away", mount.service));
        answer::error(StatusCode::SERVICE_UNAVAILABLE, Some(request.id), &error)
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
            ended.run_until_cancelled(pumping).await;
            if let Some(mount) = &session.mount {
                // Who waits is told that nothing comes.
                mount.waiting.lock().clear();
            }
            server.sessions.close(&session.id);
        });
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
                return match mount.send(bytes.clone(), None).await {
                    true => answer::accepted(),
                    false => session_gone(),
                };
            }
        };
        let permit = match self.legacy_permit(asker, request).await {
            Ok(permit) => permit,
            Err(Refused::Rpc(error)) => {
                return answer::error(StatusCode::OK, Some(request.id), &error);
            }
            Err(Refused::Denied(denial)) => return self.deny(&denial),
        };
        let key = id_key(request.id);
        let (send, mut receive) = mpsc::channel(WAITING);
        if !mount.send(bytes.clone(), Some((key.clone(), send))).await {
            return session_gone();
        }
        let waiting = Waiting {
            session: Arc::clone(session),
            key,
        };
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
            let error = RpcError::internal("the mounted server has gone away");
            Some(error_bytes(Some(&id), &error))
        });
        Events::new(messages, work, self.quiet)
            .beginning(Some(&first))
            .response()
    }

    async fn legacy_permit(
        &self,
        asker: &Asker,
        request: &Request<'_>,
    ) -> Result<Option<Permit>, Refused> {
        if asker.grant.is_none() {
            return Ok(None);
        }
        let params = rpc::Params::read(request.params)?;
        let meta = rpc::Meta::default();
        let asked = Asked {
            request,
            params: &params,
            meta: &meta,
        };
        let view = self.view(&asker.scope).await?;
        self.may_exchange(asker, &view, &HeaderMap::new(), asked)
    }
}

/// Why a request does not go to a mount.
enum Refused {
    Rpc(RpcError),
    Denied(Denial),
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
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
        (None, _) => drop(session.send_all(message.message.into()).await),
    }
}

fn gone_away(id: &RawValue) -> Response {
    let error = RpcError::internal("the mounted server has gone away");
    answer::error(StatusCode::OK, Some(id), &error)
}

/// Whether a message answers its request.
fn rpc_answer(message: &[u8]) -> bool {
    matches!(rpc::parse_one(message), Ok(Message::Response(_)))
}

/// Whether a message answers its request, and the status of HTTP that goes with it.
fn answers(message: &[u8], asker: &Asker) -> (bool, StatusCode) {
    #[derive(serde::Deserialize)]
    struct Code {
        code: i32,
    }
    match rpc::parse_one(message) {
        Ok(Message::Response(response)) => {
            let failed = response.outcome.err();
            let code = failed.and_then(|error| serde_json::from_str::<Code>(error.get()).ok());
            let http = code.map(|it| status(asker.era, &RpcError::new(it.code, "")));
            (true, http.unwrap_or(StatusCode::OK))
        }
        _ => (false, StatusCode::OK),
    }
}

fn unavailable(service: &str, error: &tonic::Status) -> RpcError {
    RpcError::internal(format!("{service} does not answer: {}", error.message()))
}

/// A request for a tool under its server's own name.
pub(crate) fn renamed(request: &Request<'_>, name: &str) -> Result<Bytes, RpcError> {
    let params = request.params.map_or("{}", RawValue::get);
    let mut params: Map<String, Value> = serde_json::from_str(params)
        .map_err(|error| RpcError::params(format!("params: {error}")))?;
    params.insert("name".to_owned(), name.into());
    let params = Value::Object(params);
    let id = request.id.get();
    let method = Value::from(&*request.method);
    let text =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}");
    Ok(text.into())
}
