//! A server that is reached by HTTP: streamable in both eras, and the HTTP+SSE of 2024-11-05.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use fetch::{
    EgressPolicy, Error as FetchError, FetchLimits, HttpClient, KeptConnection, SendError,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use url::Url;

use crate::{
    calls::{Calls, Setting},
    handshake,
    headers::encoded,
    keys::MountKeys,
    link::{Era, Exchange, Facts, Gone, Link, MODERN, Outgoing},
    message::{self, Message, Notification, Request, code, error, raw, text, to_raw},
    sse::Sse,
    stdio::{set_token, within},
};

/// Idle connections that are kept.
const MAX_IDLE: usize = 64;
/// Connections at once.
const MAX_CONNECTIONS: usize = 1024;
/// Answers to the server that wait to be sent.
const REPLIES: usize = 256;
/// How often a server is asked whether it is still there.
const PROBE: Duration = Duration::from_secs(5);
/// How long it may take to answer that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a stream is opened again, where the server names none.
const RETRY: Duration = Duration::from_secs(1);
/// How often the stream of one request is taken up again.
const MAX_RESUMED: u32 = 100;
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// A server at a URL.
#[derive(Clone, Debug)]
pub(crate) struct HttpServer {
    client: HttpClient,
    url: Url,
    headers: HeaderMap,
}

impl HttpServer {
    /// The server that the keys name. Its own host may be asked wherever it is, and no other.
    pub(crate) fn new(url: &str, keys: &MountKeys) -> anyhow::Result<Self> {
        let url: Url = url.parse().context("mount_url")?;
        let host = url.host_str().context("mount_url names no host")?;
        let port = url
            .port_or_known_default()
            .context("mount_url names no port")?;
        let policy = EgressPolicy::new(true, &[format!("{host}:{port}")]);
        let client = HttpClient::new(policy, FetchLimits::default())?;
        let secret = keys.mount_headers.as_ref();
        let lines = secret.map(|it| it.expose().to_owned()).unwrap_or_default();
        let mut headers = HeaderMap::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line
                .split_once(':')
                .context("mount_headers: write each as `name: value`")?;
            let name = HeaderName::try_from(name.trim()).context("mount_headers: a name")?;
            let mut value =
                HeaderValue::try_from(value.trim()).context("mount_headers: a value")?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self {
            client,
            url,
            headers,
        })
    }
}

/// A connection to a server by HTTP: many connections of TCP, and one session where there is one.
#[derive(Debug)]
struct HttpLink {
    facts: Arc<Facts>,
    peer: Arc<Peer>,
}

/// What is known before it is known what the server is.
#[derive(Debug)]
struct Peer {
    server: HttpServer,
    calls: Arc<Calls>,
    setting: Setting,
    idle: Mutex<Vec<KeptConnection>>,
    connections: Arc<Semaphore>,
    /// The session and the revision, once they are known.
    session: Mutex<(Option<HeaderValue>, Option<HeaderValue>)>,
    /// Where messages go, where all answers come by one stream.
    endpoint: Mutex<Option<Url>>,
}

/// A connection in use. It is idle again when its answer was read.
struct InUse {
    connection: KeptConnection,
    _permit: OwnedSemaphorePermit,
}

/// An answer as it comes.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    from: InUse,
}

/// Connects to a server, and learns what it is.
pub(crate) async fn connect(
    server: &HttpServer,
    setting: &Setting,
    legacy: bool,
) -> anyhow::Result<Arc<dyn Link>> {
    let (replies, answers) = mpsc::channel(REPLIES);
    let peer = Arc::new(Peer {
        server: server.clone(),
        calls: Arc::new(Calls::new(setting, replies)),
        setting: setting.clone(),
        idle: Mutex::default(),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        session: Mutex::default(),
        endpoint: Mutex::default(),
    });
    let guard = peer.calls.closed().clone().drop_guard();
    setting
        .tracker
        .spawn(send_replies(Arc::clone(&peer), answers));
    let learnt = within(setting.patience, peer.handshake(!legacy)).await;
    let facts = learnt.with_context(|| format!("it said nothing for {:?}", setting.patience))??;
    guard.disarm();
    let facts = Arc::new(Facts {
        // A session is this process's, and so are its tasks.
        is_own: facts.era == Era::Legacy,
        ..facts
    });
    let link = HttpLink {
        facts: Arc::clone(&facts),
        peer: Arc::clone(&peer),
    };
    setting
        .tracker
        .spawn(watch(Arc::clone(&peer), Arc::clone(&facts)));
    if facts.era == Era::Legacy && peer.endpoint.lock().is_none() {
        setting.tracker.spawn(follow(peer));
    }
    Ok(Arc::new(link))
}

impl Peer {
    async fn handshake(self: &Arc<Self>, probe: bool) -> anyhow::Result<Facts> {
        let discovery = self.request(handshake::discover(), Some(MODERN));
        // A server that answers with no message is of an earlier revision.
        if probe
            && let Ok(outcome) = discovery.await?.outcome().await
            && let Some(facts) = handshake::discovered(&outcome)?
        {
            self.session.lock().1 = Some(HeaderValue::from_static(MODERN));
            return Ok(facts);
        }
        let outcome = self
            .request(handshake::initialize(), None)
            .await?
            .outcome()
            .await?;
        let outcome = match &outcome {
            Err(error) if message::error_code(error) == HTTP_ERROR => {
                self.open_sse()
                    .await
                    .with_context(|| message::error_text(error))?;
                self.request(handshake::initialize(), None)
                    .await?
                    .outcome()
                    .await?
            }
            _ => outcome,
        };
        let facts = handshake::begun(&outcome)?;
        self.session.lock().1 = HeaderValue::try_from(&facts.version).ok();
        self.post_message(handshake::initialized().write()).await?;
        if facts.can("logging") {
            let asked = self.request(handshake::set_level(), None).await?;
            drop(asked.outcome().await?);
        }
        Ok(facts)
    }

    /// A connection that can take a request: an idle one, or a new one.
    async fn connection(&self, fresh: bool) -> Result<InUse, FetchError> {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.map_err(|_| FetchError::Unreachable {
            host: String::new(),
            reason: "it is shutting down".to_owned(),
        })?;
        let idle = if fresh { None } else { self.idle() };
        if let Some(connection) = idle {
            return Ok(InUse {
                connection,
                _permit: permit,
            });
        }
        let (connection, driver) = self.server.client.open(&self.server.url).await?;
        self.setting.tracker.spawn(driver);
        Ok(InUse {
            connection,
            _permit: permit,
        })
    }

    /// An idle connection that the server has not left.
    fn idle(&self) -> Option<KeptConnection> {
        let mut idle = self.idle.lock();
        loop {
            let connection = idle.pop()?;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    fn release(&self, from: InUse) {
        let mut idle = self.idle.lock();
        if from.connection.is_ready()
            && idle.len() < MAX_IDLE
            && !self.calls.closed().is_cancelled()
        {
            idle.push(from.connection);
        }
    }

    /// Sends a request of HTTP. One that was certainly not received is sent again.
    async fn exchange(
        &self,
        mut from: InUse,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, FetchError> {
        loop {
            let url = self.endpoint.lock().clone();
            let url = url.as_ref().filter(|_| method == Method::POST);
            let url = url.unwrap_or(&self.server.url);
            let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
            let mut request = http::Request::builder()
                .method(method.clone())
                .uri(target)
                .body(Full::new(body.clone()))
                .map_err(|error| FetchError::BadUrl {
                    url: url.to_string(),
                    reason: error.to_string(),
                })?;
            *request.headers_mut() = headers.clone();
            match from.connection.send(request).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    return Ok(Answer {
                        status: head.status,
                        headers: head.headers,
                        body,
                        from,
                    });
                }
                Err(SendError::Unsent) => from = self.connection(true).await?,
                Err(SendError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The headers of every request: those of the keys, the session's and the revision's.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.server.headers.clone();
        let (session, version) = self.session.lock().clone();
        if let Some(session) = session {
            headers.insert(SESSION, session);
        }
        if let Some(version) = version {
            headers.insert(VERSION, version);
        }
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accept);
        headers
    }

    /// Sends a request of MCP.
    async fn request(
        self: &Arc<Self>,
        mut request: Outgoing,
        version: Option<&'static str>,
    ) -> Result<Exchange, Gone> {
        let from = self
            .connection(false)
            .await
            .map_err(|error| self.away(&error))?;
        let Outgoing {
            capabilities,
            client,
            progress,
            ..
        } = &request;
        let (id, exchange) = self.calls.open(capabilities.clone(), *client, *progress)?;
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

    /// The whole body, within the limit.
    async fn finish_body(&self, mut answer: Answer) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(frame) = answer.body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > self.setting.message {
                return None;
            }
            whole.extend_from_slice(&data);
        }
        self.release(answer.from);
        Some(whole)
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
            sleep(sse.retry.map_or(RETRY, Duration::from_millis)).await;
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

    async fn read_events(&self, mut answer: Answer, sse: &mut Sse, of: Option<u64>) {
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

    /// Sends a message that no response comes for.
    async fn post_message(&self, message: Vec<u8>) -> Result<(), Gone> {
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

    /// The server cannot be connected to: then the link has ended. One that breaks off loses one
    /// request.
    fn away(&self, error: &FetchError) -> Gone {
        if let FetchError::Unreachable { .. } | FetchError::Unresolved { .. } = error {
            self.calls.close();
        }
        Gone::Away(error.to_string())
    }

    /// Opens the stream of 2024-11-05, which says where messages go.
    async fn open_sse(self: &Arc<Self>) -> anyhow::Result<()> {
        let from = self.connection(false).await?;
        let mut headers = self.headers();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let mut answer = self
            .exchange(from, &Method::GET, &headers, &Bytes::new())
            .await?;
        if !answer.status.is_success() {
            bail!("and GET answers HTTP {}", answer.status);
        }
        let mut sse = Sse::new(self.setting.message);
        loop {
            let frame = answer
                .body
                .frame()
                .await
                .context("its stream of events ends at once")??;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let events = sse
                .feed(&data)
                .ok()
                .context("its first event is too large")?;
            let Some(first) = events.iter().find(|it| it.kind == "endpoint") else {
                continue;
            };
            let path = String::from_utf8_lossy(&first.data).into_owned();
            let endpoint = self.server.url.join(path.trim())?;
            if endpoint.origin() != self.server.url.origin() {
                bail!("its stream of events names an endpoint of another host");
            }
            *self.endpoint.lock() = Some(endpoint);
            break;
        }
        let (peer, closed) = (Arc::clone(self), self.calls.closed().clone());
        self.setting.tracker.spawn(async move {
            closed
                .run_until_cancelled(peer.read_events(answer, &mut sse, None))
                .await;
            peer.calls.close();
        });
        Ok(())
    }
}

/// The code of an error that is the transport's own.
const HTTP_ERROR: i64 = -1;

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

/// Sends what the server asked for.
async fn send_replies(peer: Arc<Peer>, mut replies: mpsc::Receiver<Vec<u8>>) {
    let closed = peer.calls.closed().clone();
    while let Some(Some(reply)) = closed.run_until_cancelled(replies.recv()).await {
        peer.post_message(reply).await.ok();
    }
}

/// Follows what a server of a session tells without being asked.
async fn follow(peer: Arc<Peer>) {
    let closed = peer.calls.closed().clone();
    closed
        .run_until_cancelled(async {
            let mut sse = Sse::new(peer.setting.message);
            loop {
                let Ok(from) = peer.connection(false).await else {
                    return;
                };
                let mut headers = peer.headers();
                headers.insert(
                    header::ACCEPT,
                    HeaderValue::from_static("text/event-stream"),
                );
                if let Some(last) = sse
                    .last_id
                    .as_ref()
                    .and_then(|it| HeaderValue::try_from(it).ok())
                {
                    headers.insert(LAST_EVENT, last);
                }
                let answer = peer
                    .exchange(from, &Method::GET, &headers, &Bytes::new())
                    .await;
                match answer {
                    Ok(answer) if answer.status.is_success() => {
                        peer.read_events(answer, &mut sse, None).await;
                    }
                    // It has no such stream.
                    Ok(answer) if answer.status.is_client_error() => return,
                    _ => {}
                }
                sleep(sse.retry.map_or(RETRY, Duration::from_millis)).await;
            }
        })
        .await;
}

/// Asks the server again and again whether it is there, and ends the session at last.
async fn watch(peer: Arc<Peer>, facts: Arc<Facts>) {
    let (closed, shutdown) = (peer.calls.closed().clone(), peer.setting.shutdown.clone());
    loop {
        tokio::select! {
            () = sleep(PROBE) => {}
            () = closed.cancelled() => return,
            () = shutdown.cancelled() => break,
        }
        let question = match facts.era {
            Era::Modern => handshake::discover(),
            Era::Legacy => Outgoing::own("ping", message::Fields::new()),
        };
        let asked = async { peer.request(question, None).await?.outcome().await };
        if let Err(_) | Ok(Err(_)) = timeout(PROBE_TIMEOUT, asked).await {
            warn!("the server does not answer");
            peer.calls.close();
            return;
        }
    }
    if peer.session.lock().0.is_some()
        && let Ok(from) = peer.connection(false).await
    {
        let headers = peer.headers();
        let nothing = Bytes::new();
        let ended = peer.exchange(from, &Method::DELETE, &headers, &nothing);
        timeout(RETRY, ended).await.ok();
    }
    peer.calls.close();
}

#[async_trait::async_trait]
impl Link for HttpLink {
    fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        self.peer.request(request, None).await
    }

    async fn notify(&self, notification: Notification) -> Result<(), Gone> {
        if self.facts.era == Era::Modern {
            return Ok(());
        }
        self.peer.post_message(notification.write()).await
    }

    fn unsolicited(&self) -> broadcast::Receiver<Arc<Notification>> {
        self.peer.calls.unsolicited()
    }

    fn has_headers(&self) -> bool {
        true
    }

    fn closed(&self) -> &CancellationToken {
        self.peer.calls.closed()
    }
}
