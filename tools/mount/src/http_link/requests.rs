//! Requests and notifications of MCP over HTTP.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{
    HTTP_ERROR, LAST_EVENT, Peer, RETRY, SESSION, VERSION,
    connections::{Answer, InUse},
};
use crate::{
    calls::Calls,
    headers::encoded,
    link::{Exchange, Gone, MODERN, Outgoing},
    message::{Message, Notification, Request, code, error, raw, text, to_raw},
    sse::Sse,
    stdio::set_token,
};

/// How often the stream of one request is taken up again.
const MAX_RESUMED: u32 = 100;
/// How long a server may take to accept a message that it does not answer.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// What pauses a server may name, before a stream is opened again.
const PAUSES: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);

impl Peer {
    /// Sends a request of MCP.
    pub(super) async fn request(
        self: &Arc<Self>,
        mut request: Outgoing,
        version: Option<&'static str>,
    ) -> Result<Exchange, Gone> {
        // Counted before a connection is opened for it; who gives up meanwhile is forgotten.
        let (id, exchange) = self.calls.open(&request)?;
        let opening = Opening {
            calls: &self.calls,
            id: Some(id),
        };
        let from = self
            .connection(false)
            .await
            .map_err(|error| self.away(&error))?;
        opening.done();
        set_token(&mut request, id);
        let mut headers = self.headers();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(version) = version {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
        let modern = headers.get(VERSION).is_some_and(|it| it == MODERN);
        if modern {
            describe(&mut headers, &request);
        }
        let begins = request.method == "initialize";
        let message = Request {
            id: raw(&id.into()),
            method: request.method,
            params: Some(to_raw(&request.params)),
        };
        let (peer, cancel) = (Arc::clone(self), exchange.cancel.clone());
        let body = Bytes::from(message.write());
        self.setting.tracker.spawn(async move {
            let closed = peer.calls.closed().clone();
            let carried = peer.carry_out(from, id, &headers, &body, begins);
            let cancelled = tokio::select! {
                () = carried => return,
                () = cancel.cancelled() => true,
                () = closed.cancelled() => false,
            };
            // Of a modern request, closing its stream cancels it.
            if !peer.calls.forget(id) || !cancelled || begins {
                return;
            }
            peer.setting.metrics.cancelled();
            if !modern {
                let params = serde_json::json!({"requestId": id, "reason": "its client has left"});
                let cancelled = Notification::new("notifications/cancelled", &params);
                peer.post_message(cancelled.write()).await.ok();
            }
        });
        Ok(exchange)
    }

    /// Sends a request and reads what comes for it.
    async fn carry_out(
        &self,
        from: InUse,
        id: u64,
        headers: &HeaderMap,
        body: &Bytes,
        begins: bool,
    ) {
        let answer = match self.exchange(from, &Method::POST, headers, body).await {
            Ok(answer) => answer,
            Err(error) => {
                debug!(%error, "no answer");
                self.calls.forget(id);
                self.away(&error);
                return;
            }
        };
        if begins && let Some(session) = answer.headers.get(SESSION) {
            self.session.lock().0 = Some(session.clone());
        }
        if self.endpoint.lock().is_some() && answer.status.is_success() {
            // The response comes by the other stream; the request stays in flight.
            self.finish_body(answer).await;
            return std::future::pending().await;
        }
        let expired = answer.status == StatusCode::NOT_FOUND && self.session.lock().0.is_some();
        let status = answer.status;
        let outcome = self.read(answer, Some(id)).await;
        if expired && outcome.is_err() {
            warn!("the server has forgotten the session");
            self.calls.close();
            return;
        }
        let outcome = match outcome {
            Err(why) => Err(error(HTTP_ERROR, format!("HTTP {status}: {why}"))),
            Ok(()) => Err(error(
                code::INTERNAL,
                "the server ended its answer without a response",
            )),
        };
        // What was answered is not in flight any more.
        self.calls.finish(id, outcome);
    }

    /// Reads an answer to its end: one message, or a stream of them. It is no message: why.
    async fn read(&self, answer: Answer, of: Option<u64>) -> Result<(), String> {
        let kind = answer.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|it| it.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") && answer.status.is_success() {
            self.read_stream(answer, of).await;
            return Ok(());
        }
        let status = answer.status;
        let Some(body) = self.finish_body(answer).await else {
            return Err("its body is too large, or broke off".to_owned());
        };
        match Message::read(&body) {
            Ok(message @ Message::Response { .. }) => {
                self.calls.receive(message, of);
                Ok(())
            }
            _ if status.is_success() && body.is_empty() => Err("no message".to_owned()),
            _ => Err(String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned()),
        }
    }

    /// Reads events until the stream ends; that of a request of an earlier revision is taken up again.
    async fn read_stream(&self, mut answer: Answer, of: Option<u64>) {
        let mut sse = Sse::new(self.setting.message);
        for _ in 0..MAX_RESUMED {
            self.read_events(answer, &mut sse, of).await;
            let open = of.is_some_and(|id| self.calls.has(id));
            let Some(last) = sse.last_id.clone().filter(|_| open) else {
                return;
            };
            sleep(pause(&sse)).await;
            let mut headers = self.headers();
            let Ok(last) = HeaderValue::try_from(last) else {
                return;
            };
            headers.insert(LAST_EVENT, last);
            let Ok(from) = self.connection(false).await else {
                return;
            };
            match self
                .exchange(from, &Method::GET, &headers, &Bytes::new())
                .await
            {
                Ok(next) if next.status.is_success() => answer = next,
                _ => return,
            }
        }
    }

    pub(super) async fn read_events(&self, mut answer: Answer, sse: &mut Sse, of: Option<u64>) {
        while let Some(Ok(frame)) = answer.body.frame().await {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let Ok(events) = sse.feed(&data) else {
                let limit = self.setting.message;
                warn!(
                    limit,
                    key = "mount_max_message",
                    "the server sent a message that is too large"
                );
                return;
            };
            for event in events.iter().filter(|it| !it.data.is_empty()) {
                match Message::read(&event.data) {
                    Ok(message) => self.calls.receive(message, of),
                    Err(error) => debug!(error = error.1, "an event is no message"),
                }
            }
            if of.is_some_and(|id| !self.calls.has(id)) {
                // The response was there: what comes after it is the end of the stream.
                self.finish_body(answer).await;
                return;
            }
        }
        self.release(answer.from);
    }

    /// Sends a message that no response comes for. A server that does not take it in time has lost it.
    pub(super) async fn post_message(&self, message: Vec<u8>) -> Result<(), Gone> {
        let closed = self.calls.closed().clone();
        let posted = closed.run_until_cancelled(timeout(POST_TIMEOUT, self.post(message)));
        match posted.await {
            Some(Ok(posted)) => posted,
            Some(Err(_)) => Err(Gone::Late(POST_TIMEOUT)),
            None => Err(Gone::Lost),
        }
    }

    async fn post(&self, message: Vec<u8>) -> Result<(), Gone> {
        // Closed never.
        let _permit = self.posts.acquire().await;
        let from = self
            .connection(false)
            .await
            .map_err(|error| self.away(&error))?;
        let mut headers = self.headers();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let sent = self
            .exchange(from, &Method::POST, &headers, &message.into())
            .await;
        let answer = sent.map_err(|error| self.away(&error))?;
        if answer.status == StatusCode::NOT_FOUND {
            self.calls.close();
        }
        self.finish_body(answer).await;
        Ok(())
    }
}

/// A request whose connection is being opened. Dropping it forgets the request.
struct Opening<'a> {
    calls: &'a Calls,
    id: Option<u64>,
}

impl Opening<'_> {
    fn done(mut self) {
        self.id = None;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.calls.forget(id);
        }
    }
}

/// How long to wait before a stream is opened again: as the server says, within reason.
pub(super) fn pause(sse: &Sse) -> Duration {
    let named = sse.retry.map_or(RETRY, Duration::from_millis);
    named.clamp(*PAUSES.start(), *PAUSES.end())
}

/// The headers that tell of a request of 2026-07-28 what its body says.
fn describe(headers: &mut HeaderMap, request: &Outgoing) {
    let method = HeaderValue::try_from(request.method.as_str());
    if let Ok(method) = method {
        headers.insert("mcp-method", method);
    }
    let name = match &*request.method {
        "tools/call" | "prompts/get" => request.params.get("name"),
        "resources/read" => request.params.get("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => request.params.get("taskId"),
        _ => None,
    };
    let mut all = vec![];
    if let Some(name) = text(name) {
        all.push(("mcp-name".to_owned(), encoded(&name)));
    }
    all.extend(request.headers.iter().cloned());
    for (name, value) in all {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
}
