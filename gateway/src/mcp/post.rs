//! `POST /mcp`: one message, or a batch where the revision has them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mcp::rpc::{
    self, Body, Era, Message, Meta, Notification, Params, Request, RpcError, Version, code,
    response_bytes,
};
use serde_json::value::RawValue;
use service::{BodyTimeout, RequestBody};
use telemetry::{TRACEPARENT, TRACESTATE};
use tokio::{sync::mpsc, time::sleep};

use super::{
    McpServer,
    answer::{self, Events},
    audit::Operation,
    auth::Denial,
    headers,
    methods::{Asked, Asker, Done, Failure, Later, Started},
    mounted::Exchange,
    scope::{Route, Scope},
    sessions::Session,
};
use crate::request_context;

/// How long a call may take before its answer becomes a stream, where the client takes one.
const STREAM_AFTER: Duration = Duration::from_secs(5);
/// Messages of one call that may wait for its client.
const PROGRESS: usize = 16;

impl McpServer {
    /// Answers a request whose host and origin are good.
    pub(super) async fn serve(
        self: &Arc<Self>,
        route: Route,
        parts: request::Parts,
        body: RequestBody,
    ) -> Response {
        match (route, &parts.method) {
            (Route::Metadata, &Method::GET) => match self.access.metadata() {
                Some(text) => answer::json(StatusCode::OK, text.to_owned()),
                None => not_found("no authorization server is configured"),
            },
            (Route::Mcp(scope), &Method::POST) => self.post(scope, parts, body).await,
            (Route::Mcp(scope), &Method::GET) => self.stream(scope, parts).await,
            (Route::Mcp(_), &Method::DELETE) => self.end(parts).await,
            (Route::Sse(scope), &Method::GET) => self.old_stream(scope, parts).await,
            (Route::Messages, &Method::POST) => self.old_message(parts, body).await,
            (route, _) => {
                let allowed = match route {
                    Route::Mcp(_) => "GET, POST, DELETE",
                    Route::Messages => "POST",
                    Route::Sse(_) | Route::Metadata => "GET",
                };
                let error =
                    RpcError::new(code::INVALID_REQUEST, "this path does not take the method");
                let mut answer = answer::error(StatusCode::METHOD_NOT_ALLOWED, None, &error);
                let headers = answer.headers_mut();
                headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
                answer
            }
        }
    }

    /// Who asks, by the token.
    pub(super) async fn asker(
        &self,
        scope: Scope,
        parts: &request::Parts,
    ) -> Result<Asker, Response> {
        let grant = match self.access.grant(&parts.headers).await {
            Ok(grant) => grant,
            Err(denial) => return Err(self.deny(&denial)),
        };
        let header = |name: &str| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            (value.len() <= 512).then(|| value.to_owned())
        };
        Ok(Asker {
            scope,
            era: Era::Legacy(Version::UNSAID),
            grant,
            session: None,
            traceparent: header(TRACEPARENT),
            tracestate: header(TRACESTATE),
            client: request_context::client(parts, &self.context.keys.connections.trusted_proxies),
        })
    }

    pub(super) fn deny(&self, denial: &Denial) -> Response {
        self.metrics.refuse(match denial {
            Denial::Missing | Denial::Invalid(_) | Denial::Unknown(_) => "token",
            Denial::Scope(_) => "scope",
            Denial::Rate(_) => "rate",
        });
        self.access.refuse(denial)
    }

    async fn post(
        self: &Arc<Self>,
        scope: Scope,
        parts: request::Parts,
        body: RequestBody,
    ) -> Response {
        let mut asker = match self.asker(scope, &parts).await {
            Ok(asker) => asker,
            Err(refusal) => return refusal,
        };
        let takes = match Takes::of(&parts.headers) {
            Ok(takes) => takes,
            Err(refusal) => return refusal,
        };
        let bytes = match self.read_body(&parts.headers, body).await {
            Ok(bytes) => bytes,
            Err(refusal) => return refusal,
        };
        // Where the era has sessions, another gateway may have this one.
        if !headers::is_modern(&parts.headers) {
            match self.session_of(&parts, &asker, &bytes).await {
                Ok(session) => asker.session = session,
                Err(answer) => return answer,
            }
        }
        match rpc::parse(&bytes) {
            Ok(Body::One(message)) => {
                self.message(asker, &parts.headers, message, &bytes, takes)
                    .await
            }
            Ok(Body::Batch(messages)) => self.batch(asker, &parts.headers, messages).await,
            Err(error) => answer::error(StatusCode::BAD_REQUEST, None, &error),
        }
    }

    /// The whole body, up to the limit.
    pub(super) async fn read_body(
        &self,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Bytes, Response> {
        let invalid = |status, text: String| {
            Err(answer::error(
                status,
                None,
                &RpcError::new(code::INVALID_REQUEST, text),
            ))
        };
        if let Some(form) = headers.get(header::CONTENT_ENCODING)
            && form != "identity"
        {
            let text = "compressed bodies are not taken here".to_owned();
            return invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        match Limited::new(body, self.keys.mcp_max_body).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = format!(
                    "the body is larger than mcp_max_body = {}",
                    self.keys.mcp_max_body
                );
                invalid(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Err(error) if error.is::<BodyTimeout>() => {
                let text = "no more of the body arrived within body_timeout".to_owned();
                invalid(StatusCode::REQUEST_TIMEOUT, text)
            }
            Err(_) => {
                let text = "the connection ended before the whole body had arrived".to_owned();
                invalid(StatusCode::BAD_REQUEST, text)
            }
        }
    }

    async fn message(
        self: &Arc<Self>,
        asker: Asker,
        headers: &HeaderMap,
        message: Message<'_>,
        bytes: &Bytes,
        takes: Takes,
    ) -> Response {
        if let Some(session) = &asker.session
            && session.mount.is_some()
        {
            let session = Arc::clone(session);
            return self
                .mounted_message(&asker, &session, &message, bytes, takes)
                .await;
        }
        match message {
            Message::Request(request) => self.request(asker, headers, request, bytes, takes).await,
            Message::Notification(notification) => {
                match self.notification(&asker, headers, &notification) {
                    Ok(()) => answer::accepted(),
                    Err(error) => answer::error(StatusCode::BAD_REQUEST, None, &error),
                }
            }
            // We ask nothing, so nobody waits for it.
            Message::Response(_) => answer::accepted(),
        }
    }

    /// Takes a notification.
    pub(super) fn notification(
        &self,
        asker: &Asker,
        headers: &HeaderMap,
        notification: &Notification<'_>,
    ) -> Result<(), RpcError> {
        let params = Params::read(notification.params)?;
        if headers::is_modern(headers) {
            // In this era closing the stream cancels its request.
            return headers::check(headers, &notification.method, &params);
        }
        if notification.method == "notifications/cancelled"
            && let (Some(session), Some(id)) = (&asker.session, params.request_id)
        {
            session.cancel(&rpc::id_key(id));
        }
        Ok(())
    }

    async fn request(
        self: &Arc<Self>,
        mut asker: Asker,
        headers: &HeaderMap,
        request: Request<'_>,
        bytes: &Bytes,
        takes: Takes,
    ) -> Response {
        let began = Instant::now();
        let id = request.id;
        let bad = |error: &RpcError| answer::error(StatusCode::BAD_REQUEST, Some(id), error);
        let params = match Params::read(request.params) {
            Ok(params) => params,
            Err(error) => return bad(&error),
        };
        let meta = match params.meta() {
            Ok(meta) => meta,
            Err(error) => return bad(&error),
        };
        let version = asker.session.as_ref().map(|session| session.version);
        asker.era = match headers::era(headers, &request.method, &meta, version) {
            Ok(era) => era,
            Err(error) => return bad(&error),
        };
        if asker.era.is_modern() {
            asker.session = None;
            if let Err(error) = headers::check(headers, &request.method, &params) {
                return bad(&error);
            }
        }
        let mut operation = Operation::begin(self, &asker, &request.method, &meta, began);
        if !asker.era.is_modern() && request.method == "initialize" {
            let answer = self
                .initialize(&asker, headers, &request, &params, bytes)
                .await;
            operation.end(if answer.status().is_success() {
                "ok"
            } else {
                "error"
            });
            return answer;
        }
        let asked = Asked {
            request: &request,
            params: &params,
            meta: &meta,
        };
        if let Some(mount) = self.mount(&asker.scope).await {
            let exchange = Exchange {
                id,
                takes,
                operation,
                permit: None,
            };
            return self
                .mounted_request(&asker, &mount, headers, asked, bytes, exchange)
                .await;
        }
        let wants_progress = takes.events && meta.progress.is_some();
        let (progress, messages) = match wants_progress {
            true => {
                let (send, receive) = mpsc::channel(PROGRESS);
                (Some(send), Some(receive))
            }
            false => (None, None),
        };
        match self.start(&asker, headers, asked, progress).await {
            Started::Done(result) => {
                operation.end_with(&result);
                self.done(asker.era, id, result)
            }
            Started::Later(later) => {
                let later = match in_flight(&asker, id, later) {
                    Ok(later) => later,
                    Err(error) => return bad(&error),
                };
                let later = operation.run(later);
                self.later(asker.era, id, later, messages, takes).await
            }
            Started::Listen(filter) => {
                if !takes.events {
                    let text = "a subscription needs Accept: text/event-stream";
                    return bad(&RpcError::new(code::INVALID_REQUEST, text));
                }
                self.listen(&asker, id, filter, operation)
            }
            Started::Mounted {
                tool,
                message,
                permit,
            } => {
                let exchange = Exchange {
                    id,
                    takes,
                    operation,
                    permit: Some(permit),
                };
                self.mounted_call(&asker, &tool.service, message, exchange)
                    .await
            }
        }
    }

    /// The answer to what was done at once.
    fn done(&self, era: Era, id: &RawValue, result: Result<Done, Failure>) -> Response {
        match result {
            Ok(Done::Text(text)) => answer::json(StatusCode::OK, response_bytes(id, &text)),
            Ok(Done::Kept(text)) => answer::cached(id, &text),
            Err(failure) => self.failed(era, id, failure),
        }
    }

    fn failed(&self, era: Era, id: &RawValue, failure: Failure) -> Response {
        match failure {
            Failure::Rpc(error) => answer::error(status(era, &error), Some(id), &error),
            Failure::Denied(denial) => self.deny(&denial),
        }
    }

    /// The answer to what takes its time: JSON if it comes soon, else a stream.
    async fn later(
        self: &Arc<Self>,
        era: Era,
        id: &RawValue,
        mut later: Later,
        messages: Option<mpsc::Receiver<Bytes>>,
        takes: Takes,
    ) -> Response {
        if !takes.events {
            return match later.await {
                Ok(text) => answer::json(StatusCode::OK, response_bytes(id, &text)),
                Err(failure) => self.failed(era, id, failure),
            };
        }
        // Nobody sends into the second one.
        let mut messages = messages.unwrap_or_else(|| mpsc::channel(1).1);
        let has_progress = !messages.is_closed();
        let first = tokio::select! {
            biased;
            result = &mut later => return match result {
                Ok(text) if messages.is_empty() => {
                    answer::json(StatusCode::OK, response_bytes(id, &text))
                }
                Ok(text) => {
                    let last = response_bytes(id, &text);
                    let work = Box::pin(std::future::ready(Some(last)));
                    Events::new(messages, work, self.quiet).response()
                }
                Err(failure) => self.failed(era, id, failure),
            },
            Some(first) = messages.recv(), if has_progress => Some(first),
            () = sleep(STREAM_AFTER) => None,
        };
        let id = id.to_owned();
        let open = self.metrics.stream("call");
        let work = Box::pin(async move {
            let _open = open;
            Some(match later.await {
                Ok(text) => response_bytes(&id, &text),
                Err(failure) => rpc::error_bytes(Some(&id), &failure.into_rpc()),
            })
        });
        let events = Events::new(messages, work, self.quiet);
        events.beginning(first.as_ref()).response()
    }

    /// A batch: its answers in one array, or nothing where nothing is to be answered.
    async fn batch(
        self: &Arc<Self>,
        asker: Asker,
        headers: &HeaderMap,
        messages: Vec<Result<Message<'_>, RpcError>>,
    ) -> Response {
        if headers::is_modern(headers) {
            return answer::error(StatusCode::BAD_REQUEST, None, &rpc::no_batches());
        }
        let of_session = asker.session.as_ref().map(|session| session.version);
        let version = match headers::era(headers, "", &Meta::default(), of_session) {
            Ok(era) => era.version(),
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, None, &error),
        };
        let is_mounted = asker.session.as_ref().is_some_and(|it| it.mount.is_some());
        if !version.has_batches() || is_mounted {
            return answer::error(StatusCode::BAD_REQUEST, None, &rpc::no_batches());
        }
        let mut answers: Vec<Bytes> = Vec::new();
        for message in messages {
            match message {
                Err(error) => answers.push(rpc::error_bytes(None, &error)),
                Ok(Message::Request(request)) => {
                    answers.push(self.one_of_batch(&asker, version, &request).await);
                }
                Ok(Message::Notification(notification)) => {
                    if let Err(error) = self.notification(&asker, headers, &notification) {
                        tracing::debug!(%error, "a notification is not taken");
                    }
                }
                Ok(Message::Response(_)) => {}
            }
        }
        if answers.is_empty() {
            return answer::accepted();
        }
        let mut text = Vec::with_capacity(answers.iter().map(|it| it.len() + 1).sum::<usize>() + 2);
        for (at, answer) in answers.iter().enumerate() {
            text.push(if at == 0 { b'[' } else { b',' });
            text.extend_from_slice(answer);
        }
        text.push(b']');
        answer::json(StatusCode::OK, text)
    }

    async fn one_of_batch(
        self: &Arc<Self>,
        asker: &Asker,
        version: Version,
        request: &Request<'_>,
    ) -> Bytes {
        let mut asker = asker.clone();
        asker.era = version.era();
        match self.whole(&asker, request, None).await {
            Ok(text) => response_bytes(request.id, &text),
            Err(failure) => rpc::error_bytes(Some(request.id), &failure.into_rpc()),
        }
    }

    /// The result of a request of the legacy era, however long it takes.
    pub(super) async fn whole(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Bytes, Failure> {
        let params = Params::read(request.params)?;
        let meta = params.meta()?;
        let operation = Operation::begin(self, asker, &request.method, &meta, Instant::now());
        let asked = Asked {
            request,
            params: &params,
            meta: &meta,
        };
        match self.start(asker, &HeaderMap::new(), asked, progress).await {
            Started::Done(result) => {
                let mut operation = operation;
                operation.end_with(&result);
                result.map(|done| match done {
                    Done::Text(text) | Done::Kept(text) => text,
                })
            }
            Started::Later(later) => {
                let later = in_flight(asker, request.id, later)?;
                operation.run(later).await
            }
            Started::Listen(_) | Started::Mounted { .. } => {
                Err(RpcError::method(&request.method).into())
            }
        }
    }
}

/// The work of a request that the client can cancel by its id, where it has a session.
fn in_flight(asker: &Asker, id: &RawValue, later: Later) -> Result<Later, RpcError> {
    let Some(session) = &asker.session else {
        return Ok(later);
    };
    let request = session.begin(rpc::id_key(id)).ok_or_else(|| {
        let text = "the id is in use, or too many requests of this session are in flight";
        RpcError::new(code::INVALID_REQUEST, text)
    })?;
    let busy = session.busy();
    Ok(Box::pin(async move {
        let _busy = busy;
        tokio::select! {
            biased;
            () = request.cancelled.cancelled() => Err(Failure::cancelled()),
            result = later => result,
        }
    }))
}

impl Failure {
    /// The client cancelled it. It does not wait for an answer.
    pub(crate) fn cancelled() -> Self {
        Self::Rpc(RpcError::internal("the request was cancelled"))
    }

    /// As an error of JSON-RPC, where the status of HTTP is sent already.
    pub(crate) fn into_rpc(self) -> RpcError {
        match self {
            Self::Rpc(error) => error,
            Self::Denied(Denial::Scope(scope)) => RpcError::new(
                code::INVALID_REQUEST,
                format!("the token lacks the scope {scope}"),
            ),
            Self::Denied(Denial::Rate(_)) => RpcError::new(
                code::INVALID_REQUEST,
                "the token's calls come faster than it allows",
            ),
            Self::Denied(Denial::Missing | Denial::Invalid(_) | Denial::Unknown(_)) => {
                RpcError::new(code::INVALID_REQUEST, "the token is not valid")
            }
        }
    }
}

/// The status of HTTP for an error. Before 2026-07-28 an error of JSON-RPC is an answer like any other.
pub(crate) fn status(era: Era, error: &RpcError) -> StatusCode {
    if !era.is_modern() {
        return StatusCode::OK;
    }
    match error.code {
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

pub(super) fn not_found(text: &str) -> Response {
    let error = RpcError::new(code::INVALID_REQUEST, text);
    answer::error(StatusCode::NOT_FOUND, None, &error)
}

/// What a client takes as an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    /// Streams of events.
    pub(crate) events: bool,
}

impl Takes {
    /// Refuses a body that is not declared as JSON.
    pub(super) fn of_content(headers: &HeaderMap) -> Result<(), Response> {
        if let Err(problem) = crate::body::check_content_type(headers) {
            let error = RpcError::new(code::INVALID_REQUEST, problem.detail);
            return Err(answer::error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
                &error,
            ));
        }
        Ok(())
    }

    /// By `Accept` and `Content-Type`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Response> {
        Self::of_content(headers)?;
        let (mut events, mut json, mut said) = (false, false, false);
        for value in headers.get_all(header::ACCEPT) {
            said = true;
            let value = value.to_str().unwrap_or_default();
            for form in value.split(',') {
                match form.split(';').next().unwrap_or_default().trim() {
                    "text/event-stream" | "text/*" => events = true,
                    "application/json" | "application/*" => json = true,
                    "*/*" => json = true,
                    _ => {}
                }
            }
        }
        if said && !json && !events {
            let text = "send Accept: application/json, text/event-stream";
            let error = RpcError::new(code::INVALID_REQUEST, text);
            return Err(answer::error(StatusCode::NOT_ACCEPTABLE, None, &error));
        }
        Ok(Self { events })
    }
}

/// A session that a request may use: its caller's own.
pub(super) fn belongs(session: &Session, asker: &Asker) -> bool {
    session.caller.as_deref() == asker.caller().map(|caller| &**caller)
        && session.service == asker.scope.service
}
