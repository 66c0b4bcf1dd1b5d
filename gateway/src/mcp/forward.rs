//! Sessions that another gateway has. A request is passed on to it as it came; where that gateway is
//! gone, the session goes on here if it is kept in Redis: of several gateways that want to, one does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use discovery::{Health, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, request};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mcp::rpc::{self, Body as Parsed, Message, RpcError};
use parking_lot::Mutex;
use service::Context;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, sync::watch};

use super::{
    McpServer, answer,
    legacy::session_gone,
    methods::Asker,
    sessions::{Session, SessionRecord, gateway_of},
};

/// How often a request was passed on: the gateway that its id names may know of another one.
const PASSED_ON: HeaderName = HeaderName::from_static("x-mesh-passed-on");
const MAX_PASSED_ON: u8 = 2;
/// How long a connection to another gateway may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Connections to one gateway that are kept.
const IDLE: usize = 32;

/// Between two signs of life of a gateway that works on a request.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How often a session is looked up again that another gateway was faster to claim.
const CLAIMS: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// The other gateways.
#[derive(Debug)]
pub(crate) struct Peers {
    instances: watch::Receiver<Option<Arc<Snapshot>>>,
    own: String,
    idle: Mutex<HashMap<String, Vec<Sender>>>,
}

/// What became of a request that was passed on.
enum Passed {
    Answered(Response),
    /// That gateway has not read it.
    Unsent,
    /// That gateway may have carried it out, and has not answered.
    Lost,
}

/// Who has a session.
enum Claimed {
    Here(Arc<Session>),
    By(String),
    /// Another gateway has just claimed it.
    Lost,
}

impl Peers {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            instances: context.discovery.watch(context.spec.service),
            own: context.instance_id.clone(),
            idle: Mutex::default(),
        }
    }

    /// The address of another gateway, as the registry has it: an id of a session can name no other.
    /// With `only_well`, one whose checks fail has none.
    fn address(&self, gateway: &str, only_well: bool) -> Option<String> {
        if gateway == self.own {
            return None;
        }
        let instances = self.instances.borrow();
        let mut known = instances.as_deref()?.instances.iter();
        let found = known.find(|instance| &*instance.key.id == gateway)?;
        let is_well = found.health != Health::Critical;
        (is_well || !only_well).then(|| found.authority())
    }

    /// Sends a request to another gateway.
    async fn send(
        &self,
        context: &Context,
        address: &str,
        parts: &request::Parts,
        body: &Bytes,
    ) -> Passed {
        let Some(mut request) = passed_on(parts, body) else {
            return Passed::Unsent;
        };
        while let Some(mut kept) = self.idle(address) {
            match kept.try_send_request(request).await {
                Ok(answer) => return Passed::Answered(self.relayed(address, kept, answer)),
                // It was closed meanwhile: once more on another one.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return lost(address, failed.error()),
                },
            }
        }
        let Some(mut sender) = self.connect(context, address).await else {
            return Passed::Unsent;
        };
        match sender.try_send_request(request).await {
            Ok(answer) => Passed::Answered(self.relayed(address, sender, answer)),
            Err(failed) if failed.message().is_some() => Passed::Unsent,
            Err(failed) => lost(address, failed.error()),
        }
    }

    async fn connect(&self, context: &Context, address: &str) -> Option<Sender> {
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = stream.ok()?.ok()?;
        stream.set_nodelay(true).ok();
        // A machine that is gone says nothing, and a call may take long.
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).ok();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            // How it ends is seen by who waits for its answer.
            shutdown
                .run_until_cancelled(connection)
                .await
                .map(Result::ok);
        });
        Some(sender)
    }

    /// A connection that waits for a request. One whose answer is still read stays where it is: its
    /// reader may be slow.
    fn idle(&self, address: &str) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let kept = idle.get_mut(address)?;
        kept.retain(|sender| !sender.is_closed());
        let at = kept.iter().position(SendRequest::is_ready)?;
        Some(kept.swap_remove(at))
    }

    /// The answer, and its connection for the next one.
    fn relayed(
        &self,
        address: &str,
        sender: Sender,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Response {
        let mut idle = self.idle.lock();
        // Those of gateways that are gone.
        idle.retain(|_, kept| {
            kept.retain(|sender| !sender.is_closed());
            !kept.is_empty()
        });
        let kept = idle.entry(address.to_owned()).or_default();
        if kept.len() < IDLE && !is_stream(&answer) {
            kept.push(sender);
        }
        drop(idle);
        let mut answer = answer.map(Body::new);
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            answer.headers_mut().remove(name);
        }
        answer
    }
}

fn lost(address: &str, error: &hyper::Error) -> Passed {
    tracing::debug!(address, %error, "a request that was passed on has no answer");
    Passed::Lost
}

fn is_stream<B>(answer: &http::Response<B>) -> bool {
    let form = answer.headers().get(header::CONTENT_TYPE);
    form.is_some_and(|form| form.as_bytes().starts_with(b"text/event-stream"))
}

/// A request as it came.
fn passed_on(parts: &request::Parts, body: &Bytes) -> Option<Request<Full<Bytes>>> {
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut request = Request::builder()
        .method(parts.method.clone())
        .uri(target)
        .body(Full::new(body.clone()))
        .ok()?;
    let headers = request.headers_mut();
    *headers = parts.headers.clone();
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
    ] {
        headers.remove(name);
    }
    if !headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    let count = hops(&parts.headers).saturating_add(1);
    headers.insert(PASSED_ON, HeaderValue::from(u16::from(count)));
    Some(request)
}

/// How often a request was passed on. What is no number is too often.
fn hops(headers: &HeaderMap) -> u8 {
    let said = headers.get(PASSED_ON).map(HeaderValue::to_str);
    said.map_or(0, |said| {
        said.ok().and_then(|it| it.parse().ok()).unwrap_or(u8::MAX)
    })
}

/// Whether a request may be carried out once more, where another gateway may have begun with it.
fn may_repeat(parts: &request::Parts, body: &Bytes) -> bool {
    let is_call = |message: &Message<'_>| matches!(message, Message::Request(it) if it.method == "tools/call");
    parts.method != Method::POST
        || match rpc::parse(body) {
            Ok(Parsed::One(message)) => !is_call(&message),
            Ok(Parsed::Batch(messages)) => !messages.iter().flatten().any(is_call),
            Err(_) => true,
        }
}

/// A call that went away with its gateway.
fn call_lost(body: &Bytes) -> Response {
    let text = "the gateway of the session went away during the call, which may have run: where it \
        must not run twice, send it again with mesh.v1/idempotencyKey only";
    let error = RpcError::internal(text);
    match rpc::parse(body) {
        Ok(Parsed::One(Message::Request(request))) => {
            answer::error(StatusCode::OK, Some(request.id), &error)
        }
        _ => answer::error(StatusCode::BAD_GATEWAY, None, &error),
    }
}

/// It was passed on too often.
fn elsewhere() -> Response {
    answer::unavailable("the session moves between gateways now: try again")
}

fn unknown_now(error: &jobs::Error) -> Response {
    tracing::warn!(%error, "a session cannot be looked up");
    answer::unavailable("sessions cannot be looked up now: try again")
}

impl McpServer {
    /// The session with an id that is not here: restored.
    ///
    /// # Errors
    /// The answer of the gateway that has it, or that there is none.
    pub(super) async fn session_elsewhere(
        self: &Arc<Self>,
        id: &str,
        parts: &request::Parts,
        asker: &Asker,
        body: &Bytes,
    ) -> Result<Arc<Session>, Response> {
        let Some(gateway) = gateway_of(id).filter(|_| id.len() <= 512) else {
            return Err(session_gone());
        };
        let may_pass = hops(&parts.headers) < MAX_PASSED_ON;
        if may_pass {
            self.pass_on(gateway, parts, body).await?;
        }
        // The gateway that could not be reached.
        let mut asked = may_pass.then(|| gateway.to_owned());
        for _ in 0..CLAIMS {
            match self.claim(id, asker, asked.as_deref()).await? {
                Claimed::Here(session) => return Ok(session),
                Claimed::By(other) if may_pass => {
                    self.pass_on(&other, parts, body).await?;
                    // It is gone too.
                    asked = Some(other);
                }
                Claimed::By(_) => return Err(elsewhere()),
                Claimed::Lost => {}
            }
        }
        self.metrics.passed_on("not_found");
        Err(session_gone())
    }

    /// Takes a session over, unless another gateway has it that was not asked yet.
    async fn claim(
        self: &Arc<Self>,
        id: &str,
        asker: &Asker,
        asked: Option<&str>,
    ) -> Result<Claimed, Response> {
        let _turn = self.sessions.restoring(id).await;
        if let Some(session) = self.sessions.get(id) {
            return Ok(Claimed::Here(session));
        }
        let not_found = || {
            self.metrics.passed_on("not_found");
            session_gone()
        };
        let store = self.store.as_ref().ok_or_else(not_found)?;
        let kept = store.get(id).await.map_err(|error| unknown_now(&error))?;
        let kept = kept.ok_or_else(not_found)?;
        // The one of another caller does not exist for this one.
        if kept.record.caller.as_deref() != asker.caller_name() {
            return Err(session_gone());
        }
        let own = self.sessions.gateway();
        let has = &*kept.record.gateway;
        if has != own && Some(has) != asked {
            return Ok(Claimed::By(kept.record.gateway));
        }
        let mut record = kept.record.clone();
        record.moves = record.moves.saturating_add(1);
        own.clone_into(&mut record.gateway);
        let claimed = store.claim(id, &kept, &record, self.sessions.idle()).await;
        if !claimed.map_err(|error| unknown_now(&error))? {
            return Ok(Claimed::Lost);
        }
        let session = self.restored(id, &record).await?;
        self.metrics.passed_on("restored");
        Ok(Claimed::Here(session))
    }

    /// A session that is not here is to end, and no other gateway that has it can be reached.
    ///
    /// # Errors
    /// The answer of the gateway that has it, or that there is none.
    pub(super) async fn ends_here(
        &self,
        id: &str,
        parts: &request::Parts,
        asker: &Asker,
    ) -> Result<(), Response> {
        let Some(gateway) = gateway_of(id).filter(|_| id.len() <= 512) else {
            return Err(session_gone());
        };
        let may_pass = hops(&parts.headers) < MAX_PASSED_ON;
        if may_pass {
            self.pass_on(gateway, parts, &Bytes::new()).await?;
        }
        let store = self.store.as_ref().ok_or_else(session_gone)?;
        let kept = store.get(id).await.map_err(|error| unknown_now(&error))?;
        let record = kept.ok_or_else(session_gone)?.record;
        if record.caller.as_deref() != asker.caller_name() {
            return Err(session_gone());
        }
        if may_pass && record.gateway != gateway {
            self.pass_on(&record.gateway, parts, &Bytes::new()).await?;
        }
        Ok(())
    }

    /// Goes on with a session.
    ///
    /// # Errors
    /// Where it has a mounted server that cannot be reached now, or there are too many sessions.
    pub(super) async fn restored(
        self: &Arc<Self>,
        id: &str,
        record: &SessionRecord,
    ) -> Result<Arc<Session>, Response> {
        let Some(mut session) = Session::restored(id.into(), record) else {
            return Err(session_gone());
        };
        let session = match session.initialize.clone() {
            None => Arc::new(session),
            Some(first) => {
                session.mount = Some(self.mount_of(&session).await?);
                let session = Arc::new(session);
                self.begin_again(&session, &first).await?;
                session
            }
        };
        self.insert(&session)?;
        Ok(session)
    }

    /// Passes a request on, where its gateway is known and can be reached.
    ///
    /// # Errors
    /// The answer of that gateway.
    async fn pass_on(
        &self,
        gateway: &str,
        parts: &request::Parts,
        body: &Bytes,
    ) -> Result<(), Response> {
        // Where sessions are kept, one whose gateway is not well goes on here.
        let Some(address) = self.peers.address(gateway, self.store.is_some()) else {
            return Ok(());
        };
        match self.peers.send(&self.context, &address, parts, body).await {
            Passed::Answered(answer) => {
                self.metrics.passed_on("passed_on");
                Err(answer)
            }
            Passed::Lost if !may_repeat(parts, body) => Err(call_lost(body)),
            Passed::Lost | Passed::Unsent => Ok(()),
        }
    }
}
