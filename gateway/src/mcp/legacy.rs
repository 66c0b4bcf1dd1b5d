//! Clients before revision 2026-07-28: the handshake, sessions, their stream, and the two paths of
//! 2024-11-05.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, request};
use mcp::rpc::{
    self, Era, Message, Params, Request, RpcError, Version, code, error_bytes, response_bytes,
};
use serde_json::json;
use service::RequestBody;

use super::{
    McpServer,
    answer::{self, SESSION_ID, named_event},
    headers,
    methods::{Asker, shown, takes_tasks},
    post::{Takes, belongs, not_found},
    scope::{self, Scope},
    sessions::Session,
};

impl McpServer {
    /// `initialize`: agrees on a revision and opens a session.
    pub(super) async fn initialize(
        self: &Arc<Self>,
        asker: &Asker,
        headers: &HeaderMap,
        request: &Request<'_>,
        params: &Params<'_>,
        bytes: &Bytes,
    ) -> Response {
        let id = Some(request.id);
        let Some(asked) = params.protocol_version.and_then(rpc::text) else {
            let error = RpcError::params("params.protocolVersion must be a string");
            return answer::error(StatusCode::BAD_REQUEST, id, &error);
        };
        if let Err(error) = headers::check_handshake(headers, &asked) {
            return answer::error(StatusCode::BAD_REQUEST, id, &error);
        }
        let version = agreed(&asked);
        let mut session = Session::new(self.sessions.new_id(), version);
        session.caller = asker.caller().cloned();
        session.service = asker.scope.service.clone();
        session.listing = asker.scope.listing;
        session.takes_tasks = takes_tasks(params.capabilities);
        if let Some(service) = &asker.scope.service {
            // A mounted server shakes hands by itself.
            if let Some(mount) = self.mount(&asker.scope).await {
                if !Self::may_begin(asker, &mount) {
                    return answer::error(StatusCode::NOT_FOUND, id, &no_service(service));
                }
                return self
                    .mounted_initialize(asker, &mount, session, request, bytes)
                    .await;
            }
            if let Err(error) = self.view(&asker.scope).await {
                tracing::debug!(service = &**service, %error, "no session");
                return answer::error(StatusCode::NOT_FOUND, id, &error);
            }
        }
        let session = match self.admit(session).await {
            Ok(session) => session,
            Err(refusal) => return refusal,
        };
        let result = self.greeting(version).to_string();
        let mut answer = answer::json(
            StatusCode::OK,
            response_bytes(request.id, result.as_bytes()),
        );
        name_session(&mut answer, &session);
        answer
    }

    /// Opens a session, and keeps it where other gateways find it.
    pub(super) async fn admit(&self, session: Session) -> Result<Arc<Session>, Response> {
        let session = Arc::new(session);
        self.insert(&session)?;
        self.keep(&session).await;
        Ok(session)
    }

    /// Adds a session to those that are open here.
    pub(super) fn insert(&self, session: &Arc<Session>) -> Result<(), Response> {
        self.sessions.insert(session).map_err(|()| {
            self.metrics.refuse("full");
            answer::unavailable("mcp_max_sessions sessions are open and busy: try again later")
        })
    }

    /// Keeps a session where other gateways find it.
    pub(super) async fn keep(&self, session: &Session) {
        if let Some(store) = &self.store
            && session.can_move()
        {
            let record = session.record(self.sessions.gateway());
            store.put(&session.id, &record, self.sessions.idle()).await;
        }
    }

    fn greeting(&self, version: Version) -> serde_json::Value {
        json!({
            "protocolVersion": version.as_str(),
            "capabilities": Self::capabilities(false),
            "serverInfo": Self::server_info(),
            "instructions": super::INSTRUCTIONS,
        })
    }

    /// `GET /mcp`: the stream of a session.
    pub(super) async fn stream(self: &Arc<Self>, scope: Scope, parts: request::Parts) -> Response {
        let asker = match self.asker(scope, &parts).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal,
        };
        if headers::is_modern(&parts.headers) {
            let error = RpcError::method("GET");
            let mut answer = answer::error(StatusCode::METHOD_NOT_ALLOWED, None, &error);
            let headers = answer.headers_mut();
            headers.insert(http::header::ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        let session = match self.session_of(&parts, &asker, &Bytes::new()).await {
            Ok(Some(session)) => session,
            Ok(None) => {
                let text = "the header Mcp-Session-Id is missing: send initialize first";
                let error = RpcError::new(code::INVALID_REQUEST, text);
                return answer::error(StatusCode::BAD_REQUEST, None, &error);
            }
            Err(answer) => return answer,
        };
        self.session_stream(&session, asker, None)
    }

    /// `DELETE /mcp`: the end of a session.
    pub(super) async fn end(self: &Arc<Self>, parts: request::Parts) -> Response {
        let asker = match self.asker(Scope::default(), &parts).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal,
        };
        let id = match headers::session(&parts.headers) {
            Ok(Some(id)) => id.to_owned(),
            Ok(None) => {
                let error = RpcError::new(code::INVALID_REQUEST, "Mcp-Session-Id is missing");
                return answer::error(StatusCode::BAD_REQUEST, None, &error);
            }
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, None, &error),
        };
        match self.sessions.get(&id) {
            Some(session) if session.caller.as_ref() == asker.caller() => {
                self.sessions.close_this(&session);
            }
            // The one of another caller does not exist for this one.
            Some(_) => return session_gone(),
            None => {
                if let Err(answer) = self.ends_here(&id, &parts, &asker).await {
                    return answer;
                }
            }
        }
        if let Some(store) = &self.store {
            store.remove(&id).await;
        }
        let mut answer = Response::new(axum::body::Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer
    }

    /// The session that a request names: here, passed on to the gateway that has it, or restored.
    /// `None` where it names none.
    ///
    /// # Errors
    /// The answer of the other gateway, or why there is no session.
    pub(super) async fn session_of(
        self: &Arc<Self>,
        parts: &request::Parts,
        asker: &Asker,
        body: &Bytes,
    ) -> Result<Option<Arc<Session>>, Response> {
        let id = match headers::session(&parts.headers) {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(None),
            Err(error) => return Err(answer::error(StatusCode::BAD_REQUEST, None, &error)),
        };
        self.find_session(id, parts, asker, body).await.map(Some)
    }

    pub(super) async fn find_session(
        self: &Arc<Self>,
        id: &str,
        parts: &request::Parts,
        asker: &Asker,
        body: &Bytes,
    ) -> Result<Arc<Session>, Response> {
        let session = match self.sessions.get(id) {
            Some(session) => session,
            None => Box::pin(self.session_elsewhere(id, parts, asker, body)).await?,
        };
        // The one of another caller does not exist for this one.
        if belongs(&session, asker) {
            if let Some(store) = &self.store {
                store.touch(&session, self.sessions.idle());
            }
            return Ok(session);
        }
        Err(session_gone())
    }

    /// `GET /sse`: the stream of a session of 2024-11-05.
    pub(super) async fn old_stream(
        self: &Arc<Self>,
        scope: Scope,
        parts: request::Parts,
    ) -> Response {
        let asker = match self.asker(scope.clone(), &parts).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal,
        };
        let mut session = Session::new(self.sessions.new_id(), Version::V2024_11_05);
        session.is_old = true;
        session.caller = asker.caller().cloned();
        session.service = scope.service.clone();
        session.listing = scope.listing;
        if scope.service.is_some()
            && let Err(error) = self.view(&scope).await
        {
            return answer::error(StatusCode::NOT_FOUND, None, &error);
        }
        if let Some(mount) = self.mount(&scope).await {
            if !Self::may_begin(&asker, &mount) {
                let error = no_service(&mount.service);
                return answer::error(StatusCode::NOT_FOUND, None, &error);
            }
            match self.mounted_session(&mount, asker.caller()).await {
                Ok(mount) => session.mount = Some(mount),
                Err(refusal) => return refusal,
            }
        }
        // Its stream is its life, so no other gateway goes on with it.
        let session = Arc::new(session);
        if let Err(refusal) = self.insert(&session) {
            return refusal;
        }
        self.pump(&session);
        let path = format!("/messages?session_id={}", session.id);
        self.session_stream(
            &session,
            asker,
            Some(named_event("endpoint", path.as_bytes())),
        )
    }

    /// `POST /messages`: a message of such a session. What is answered goes into its stream.
    pub(super) async fn old_message(
        self: &Arc<Self>,
        parts: request::Parts,
        body: RequestBody,
    ) -> Response {
        let mut asker = match self.asker(Scope::default(), &parts).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal,
        };
        if let Err(refusal) = Takes::of_content(&parts.headers) {
            return refusal;
        }
        let bytes = match self.read_body(&parts.headers, body).await {
            Ok(bytes) => bytes,
            Err(refusal) => return refusal,
        };
        let Some(id) = scope::query(&parts.uri, "session_id") else {
            return not_found("the query has no session_id");
        };
        let session = match self.sessions.get(id) {
            Some(session) => session,
            None => match self.session_elsewhere(id, &parts, &asker, &bytes).await {
                Ok(session) => session,
                Err(answer) => return answer,
            },
        };
        // One without such a stream could not be answered.
        let same = session.caller.as_deref() == asker.caller_name();
        if !same || !session.is_old() {
            return session_gone();
        }
        asker.scope = Scope {
            service: session.service.clone(),
            listing: session.listing,
        };
        asker.era = Era::Legacy(session.version);
        asker.session = Some(Arc::clone(&session));
        let messages = match rpc::parse(&bytes) {
            Ok(rpc::Body::One(_)) => vec![bytes.clone()],
            Ok(rpc::Body::Batch(_)) => match split(&bytes) {
                Some(messages) => messages,
                None => vec![bytes.clone()],
            },
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, None, &error),
        };
        for bytes in messages {
            let (server, asker) = (Arc::clone(self), asker.clone());
            let ended = session.ended.clone();
            self.context.tracker.spawn(async move {
                ended
                    .run_until_cancelled(server.old_answer(asker, bytes))
                    .await;
            });
        }
        answer::accepted()
    }

    async fn old_answer(self: Arc<Self>, asker: Asker, bytes: Bytes) {
        let Some(session) = asker.session.clone() else {
            return;
        };
        if let Some(mount) = &session.mount {
            self.old_mounted(&asker, &session, mount, bytes).await;
            return;
        }
        let Some(stream) = session.sender() else {
            return;
        };
        let message = match rpc::parse_one(&bytes) {
            Ok(message) => message,
            Err(error) => {
                stream.send(error_bytes(None, &error)).await.ok();
                return;
            }
        };
        match message {
            Message::Request(request) => {
                let answer = match &*request.method {
                    "initialize" => {
                        let text = self.greeting(Version::V2024_11_05).to_string();
                        response_bytes(request.id, text.as_bytes())
                    }
                    _ => match self.whole(&asker, &request, Some(stream.clone())).await {
                        Ok(text) => response_bytes(request.id, &text),
                        Err(failure) => error_bytes(Some(request.id), &failure.into_rpc()),
                    },
                };
                stream.send(answer).await.ok();
            }
            Message::Notification(notification) => {
                let taken = self.notification(&asker, &HeaderMap::new(), &notification);
                if let Err(error) = taken {
                    tracing::debug!(%error, "a notification is not taken");
                }
            }
            Message::Response(_) => {}
        }
    }
}

/// A service that a caller does not see does not exist for it.
pub(super) fn no_service(name: &str) -> RpcError {
    RpcError::params(format!("no service is called {:?}", shown(name)))
}

/// The messages of a batch, each for itself.
fn split(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let messages: Vec<&serde_json::value::RawValue> = serde_json::from_slice(bytes).ok()?;
    let messages = messages.into_iter();
    Some(
        messages
            .map(|it| bytes.slice_ref(it.get().as_bytes()))
            .collect(),
    )
}

/// The revision that the handshake agrees on: the one asked for, else our newest.
fn agreed(asked: &str) -> Version {
    match Version::parse(asked) {
        Some(version) if !version.is_modern() => version,
        _ => Version::LATEST_LEGACY,
    }
}

/// Names the session in the answer to `initialize`.
pub(super) fn name_session(answer: &mut Response, session: &Session) {
    if let Ok(id) = HeaderValue::from_str(&session.id) {
        answer.headers_mut().insert(SESSION_ID, id);
    }
}

/// Says that a session is not there, so that its client begins a new one.
pub(super) fn session_gone() -> Response {
    not_found("no such session: send initialize to begin a new one")
}
