//! Sessions that another gateway has. A request is passed on to it as it came; where that gateway is
//! gone, the session goes on here if it is kept in Redis.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use discovery::Snapshot;
use http::{HeaderName, HeaderValue, Request, StatusCode, header, request};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use mcp::rpc::RpcError;
use parking_lot::Mutex;
use service::Context;
use tokio::{net::TcpStream, sync::watch};

use super::{
    McpServer, answer,
    legacy::session_gone,
    sessions::{Session, gateway_of},
};

/// A gateway passed this on: no other does so again.
const PASSED_ON: HeaderName = HeaderName::from_static("x-mesh-passed-on");
/// How long a connection to another gateway may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Connections to one gateway that are kept.
const IDLE: usize = 32;

/// The other gateways.
#[derive(Debug)]
pub(crate) struct Peers {
    instances: watch::Receiver<Option<Arc<Snapshot>>>,
    own: String,
    idle: Mutex<HashMap<String, Vec<SendRequest<Full<Bytes>>>>>,
}

impl Peers {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            instances: context.discovery.watch(context.spec.service),
            own: context.instance_id.clone(),
            idle: Mutex::default(),
        }
    }

    /// The address of another gateway.
    fn address(&self, gateway: &str) -> Option<String> {
        if gateway == self.own {
            return None;
        }
        let instances = self.instances.borrow();
        let mut known = instances.as_deref()?.instances.iter();
        let found = known.find(|instance| &*instance.key.id == gateway)?;
        Some(found.authority())
    }

    /// Sends a request to another gateway. `None` where it cannot be reached.
    async fn send(
        &self,
        context: &Context,
        address: &str,
        parts: &request::Parts,
        body: &Bytes,
    ) -> Option<Response> {
        let kept = self.idle.lock().get_mut(address).and_then(Vec::pop);
        if let Some(mut kept) = kept
            && kept.ready().await.is_ok()
        {
            let request = passed_on(parts, body)?;
            match kept.send_request(request).await {
                Ok(answer) => return Some(self.relayed(address, kept, answer)),
                // It was closed meanwhile, so the request was not read: once more on a new one.
                Err(error) if error.is_canceled() || error.is_closed() => {}
                Err(error) => {
                    tracing::debug!(address, %error, "a request is not passed on");
                    return None;
                }
            }
        }
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = stream.ok()?.ok()?;
        stream.set_nodelay(true).ok();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            // How it ends is seen by who waits for its answer.
            shutdown
                .run_until_cancelled(connection)
                .await
                .map(Result::ok);
        });
        let answer = sender.send_request(passed_on(parts, body)?).await.ok()?;
        Some(self.relayed(address, sender, answer))
    }

    /// The answer, and its connection for the next one.
    fn relayed(
        &self,
        address: &str,
        sender: SendRequest<Full<Bytes>>,
        answer: http::Response<hyper::body::Incoming>,
    ) -> Response {
        let mut idle = self.idle.lock();
        // Gateways come and go under ever new addresses.
        idle.retain(|_, kept| {
            kept.retain(|sender| !sender.is_closed());
            !kept.is_empty()
        });
        let kept = idle.entry(address.to_owned()).or_default();
        // One whose answer is still read is not ready, which is waited for before it is used.
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
    headers.insert(PASSED_ON, HeaderValue::from_static("1"));
    Some(request)
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
        body: &Bytes,
    ) -> Result<Arc<Session>, Response> {
        let may_pass = !parts.headers.contains_key(PASSED_ON);
        let Some(gateway) = gateway_of(id).filter(|_| id.len() <= 512) else {
            return Err(session_gone());
        };
        if may_pass && let Some(answer) = self.pass_on(gateway, parts, body).await {
            return Err(answer);
        }
        let Some(store) = &self.store else {
            self.metrics.passed_on("not_found");
            return Err(session_gone());
        };
        let record = match store.get(id).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                self.metrics.passed_on("not_found");
                return Err(session_gone());
            }
            Err(error) => {
                tracing::warn!(%error, "a session cannot be looked up");
                let error = RpcError::internal("sessions cannot be looked up now: try again");
                return Err(answer::error(StatusCode::SERVICE_UNAVAILABLE, None, &error));
            }
        };
        // Another one may go on with it already.
        if record.gateway != gateway
            && may_pass
            && let Some(answer) = self.pass_on(&record.gateway, parts, body).await
        {
            return Err(answer);
        }
        let Some(session) = Session::restored(id.into(), &record) else {
            return Err(session_gone());
        };
        self.metrics.passed_on("restored");
        self.admit(session).await
    }

    async fn pass_on(
        &self,
        gateway: &str,
        parts: &request::Parts,
        body: &Bytes,
    ) -> Option<Response> {
        let address = self.peers.address(gateway)?;
        let answer = self
            .peers
            .send(&self.context, &address, parts, body)
            .await?;
        self.metrics.passed_on("passed_on");
        Some(answer)
    }
}
