//! `POST /mcp`: one message, or a batch where the revision has them. What a request sends is in `intake`,
//! and how it is answered in `outcome`.

mod batch;
mod intake;
mod outcome;

use std::{sync::Arc, time::Instant};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use mcp::rpc::{self, Body, Era, Message, Notification, Params, Request, RpcError, Version, code};
use service::RequestBody;
use telemetry::{TRACEPARENT, TRACESTATE};
use tokio::sync::mpsc;

use super::{
    McpServer, answer,
    audit::Operation,
    auth::Denial,
    headers,
    methods::{Asked, Asker, Started},
    mounted::Exchange,
    scope::{Route, Scope},
    sessions::Session,
};
use crate::request_context;
pub(crate) use intake::Takes;
use outcome::in_flight;
pub(crate) use outcome::{Held, id_in_use, status, unless_cancelled};

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
            // Each request has a future as large as its largest part. What is rare is apart.
            (Route::Mcp(scope), &Method::GET) => Box::pin(self.stream(scope, parts)).await,
            (Route::Mcp(_), &Method::DELETE) => Box::pin(self.end(parts)).await,
            (Route::Sse(scope), &Method::GET) => Box::pin(self.old_stream(scope, parts)).await,
            (Route::Messages, &Method::POST) => Box::pin(self.old_message(parts, body)).await,
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
            Ok(Body::Batch(messages)) => {
                Box::pin(self.batch(asker, &parts.headers, messages)).await
            }
            Err(error) => answer::error(StatusCode::BAD_REQUEST, None, &error),
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
            return Box::pin(self.mounted_message(&asker, &session, &message, bytes, takes)).await;
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
            let answer = Box::pin(self.initialize(&asker, headers, &request, &params, bytes)).await;
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
            let answer = self.mounted_request(&asker, &mount, headers, asked, bytes, exchange);
            return Box::pin(answer).await;
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
                let held = match in_flight(&asker, id) {
                    Ok(held) => held,
                    Err(error) => return bad(&error),
                };
                let later = Box::pin(operation.run(held, later));
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
                Box::pin(self.mounted_call(&asker, &tool.service, message, exchange)).await
            }
        }
    }
}

pub(super) fn not_found(text: &str) -> Response {
    let error = RpcError::new(code::INVALID_REQUEST, text);
    answer::error(StatusCode::NOT_FOUND, None, &error)
}

/// A session that a request may use: its caller's own.
pub(super) fn belongs(session: &Session, asker: &Asker) -> bool {
    session.caller.as_deref() == asker.caller_name() && session.service == asker.scope.service
}
