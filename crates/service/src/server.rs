//! The gRPC port: what a call passes on its way to the service, and the drain.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, service::service_fn};
use proto::MeshCause;
use telemetry::rpc::ServerCalls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::{
    ActiveTasks, Context, Listener, LocalBackend,
    call_limits::{self, CallLimits, until_drain, with_call_limits},
    call_log::CallLog,
    cause_slot::CauseSlot,
    clients::{ClientConnection, X_FORWARDED_FOR},
    connection::ConnectionMonitor,
    limits::METADATA_HEADROOM,
    observe::{CallContext, counts_for_drain, observe},
    port::{Accepted, HttpOptions, Port},
    probes, protocol_mismatch,
    services::{BuildListener, Handler},
};

/// How long the last answers may take to be sent.
const FLUSH: Duration = Duration::from_millis(500);

/// Bytes of a refused request's body that are read.
const DRAINED_BODY: usize = 64 * 1024;

/// What answers the calls.
pub(crate) struct App {
    pub(crate) handler: Option<Handler>,
    pub(crate) routes: tonic::service::Routes,
    /// Path prefixes that the routes answer even if there is a handler.
    pub(crate) own: Vec<&'static str>,
    /// The gRPC services of the routes; `None` where others are answered too.
    pub(crate) services: Option<Vec<String>>,
    pub(crate) calls: ServerCalls,
    pub(crate) call_limits: CallLimits,
    pub(crate) context: Arc<Context>,
    /// Cancelled when connections get GOAWAY.
    pub(crate) leave: CancellationToken,
    /// The largest metadata of a call, bytes.
    pub(crate) header_bytes: u32,
    pub(crate) call_log: CallLog,
}

/// The gRPC port and all its connections.
pub(crate) struct Server {
    app: Arc<App>,
    active: ActiveTasks,
    port: Port,
    /// Serves the clients' connections in place of the chassis.
    own_listener: Option<Arc<dyn Listener>>,
}

impl Server {
    /// Serves until [`Server::drain`], or until it is dropped.
    pub(crate) fn start(
        listener: TcpListener,
        app: App,
        build_listener: Option<BuildListener>,
        port: Port,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            app: Arc::new(app),
            active: ActiveTasks::default(),
            port,
            own_listener: None,
        };
        let (app, active, port) = (
            server.app.clone(),
            server.active.clone(),
            server.port.clone(),
        );
        if let Some(build) = build_listener {
            let connect = move |stream| {
                port.spawn(serve(
                    port.clone(),
                    app.clone(),
                    active.clone(),
                    stream,
                    None,
                ));
            };
            let backend = LocalBackend::new(
                connect,
                &server.port,
                server.app.calls.clone(),
                server.app.call_log.clone(),
            );
            server.own_listener = Some(build(backend, listener.into_std()?)?);
            return Ok(server);
        }
        server.port.accept(listener, move |accepted| {
            let (port, app, active) = (port.clone(), app.clone(), active.clone());
            async move {
                let Accepted {
                    stream,
                    peer,
                    client,
                } = accepted;
                tracing::debug!(%peer, "connected");
                let limits = port.limits;
                let first = limits.handshake(protocol_mismatch::sniff(&stream));
                match port.until_drain(first).await {
                    Some(Ok(Some(protocol))) => {
                        protocol_mismatch::reject(protocol, stream, peer).await;
                    }
                    Some(Err(_)) => tracing::debug!(%peer, "sent nothing in time"),
                    _ => {
                        let (stream, monitor) = limits.guard(stream, Some(limits.header_bytes));
                        serve(port, app, active, stream, Some((client, monitor))).await;
                    }
                }
            }
        });
        Ok(server)
    }

    /// How many calls are running, health and reflection left out.
    pub(crate) fn active(&self) -> usize {
        // A listener of the program's own counts the calls to the local backend too.
        match &self.own_listener {
            Some(listener) => listener.active(),
            None => usize::try_from(self.active.count()).unwrap_or(0),
        }
    }

    /// Stops accepting, sends GOAWAY, lets calls finish for `limit`, and returns how many were
    /// aborted.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        self.port.begin_drain();
        if let Some(listener) = &self.own_listener {
            let cut = listener.drain(limit).await;
            self.port.abort().await;
            return cut;
        }
        let quiet = async {
            loop {
                while self.active() > 0 {
                    sleep(Duration::from_millis(10)).await;
                }
                // A client that does not close by then has only a health watch open, or is gone. A
                // call that crossed our GOAWAY is waited for like any other.
                if self.port.closed_within(FLUSH).await || self.active() == 0 {
                    break;
                }
            }
        };
        let finished = timeout(limit, quiet).await.is_ok();
        let running = if finished { 0 } else { self.active() };
        self.port.abort().await;
        running
    }
}

/// Serves one connection to its end: a client's, with its monitor, or an in-process one of the
/// program's own listener.
fn serve<S>(
    port: Port,
    app: Arc<App>,
    active: ActiveTasks,
    stream: S,
    client: Option<(ClientConnection, ConnectionMonitor)>,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, monitor) = client.unzip();
    let (client, own) = (client.map(Arc::new), monitor.is_none());
    let service = service_fn(move |request| {
        let (app, active, client) = (app.clone(), active.clone(), client.clone());
        async move {
            let answer = app.answer(request, &active, client.as_deref(), own);
            Ok::<_, Infallible>(answer.await)
        }
    });
    let options = HttpOptions {
        header_bytes: port.limits.header_bytes.saturating_mul(METADATA_HEADROOM),
        unread: Duration::ZERO,
    };
    port.run(stream, monitor, options, service)
}

/// Reads the small body of a refused request: some clients take an answer before its end for a
/// broken connection.
async fn drain_body(body: Incoming) {
    if !body.is_end_stream() {
        let drained = Limited::new(body, DRAINED_BODY).collect();
        timeout(FLUSH, drained).await.ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.port.stop();
    }
}

impl App {
    async fn answer(
        &self,
        request: Request<Incoming>,
        active: &ActiveTasks,
        client: Option<&ClientConnection>,
        own: bool,
    ) -> Response<Body> {
        if let Some(answer) = probes::answer(&request, || self.context.readiness()) {
            drain_body(request.into_body()).await;
            return answer;
        }
        let headers = request.headers();
        // The client matters only where calls are counted, logged or traced.
        // The program's own listener writes down the calls of its clients itself.
        let logs = !own && self.call_log.is_on();
        let traces = !own && telemetry::tracing_enabled();
        let client = client.filter(|client| client.counts_calls() || logs || traces);
        let address = client.map(|client| {
            let forwarded = headers.get_all(X_FORWARDED_FOR).iter();
            client.address(forwarded.filter_map(|value| value.to_str().ok()))
        });
        let fields = headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let head = logs.then(|| self.call_log.begin(address, fields)).flatten();
        let admitted = client.zip(address).map(|(client, at)| client.call(at));
        let (permit, refused) = match admitted.transpose() {
            Ok(permit) => (
                permit,
                call_limits::oversized_metadata(&request, self.header_bytes),
            ),
            Err(exceeded) => (None, Some(exceeded.status())),
        };
        let mut request = request;
        let cause = if logs || traces {
            CauseSlot::new()
        } else {
            CauseSlot::default()
        };
        request.extensions_mut().insert(cause.clone());
        let context = CallContext {
            instance: Arc::clone(&self.context),
            client: address,
            has_span: own,
            permit,
            log: (!own).then(|| self.call_log.clone()),
            head,
            cause: cause.clone(),
            answers: self.answers(request.uri().path()),
        };
        observe(request, &self.calls, active, context, |request| async {
            match refused {
                Some(status) => {
                    cause.note(&status);
                    status.into_http()
                }
                None => self.dispatch(request).await,
            }
        })
        .await
    }

    /// Why the chassis answers the calls of this path; `None` where the program's service does.
    fn answers(&self, path: &str) -> Option<MeshCause> {
        if self.own.iter().any(|prefix| path.starts_with(prefix)) {
            return Some(MeshCause::Own);
        }
        let services = self.services.as_ref()?;
        let service = path.trim_start_matches('/').rsplit_once('/');
        let served = service.is_some_and(|(name, _)| services.iter().any(|it| it == name));
        (!served).then_some(MeshCause::Request)
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let is_open_ended = !counts_for_drain(path);
        let cause = CauseSlot::of(request.extensions());
        let own = self.own.iter().any(|prefix| path.starts_with(prefix));
        let next = async {
            match &self.handler {
                Some(handler) if !own => handler(request).await,
                _ => {
                    with_call_limits(request, self.call_limits, |request| self.route(request)).await
                }
            }
        };
        if is_open_ended {
            until_drain(self.leave.clone(), cause, next).await
        } else {
            next.await
        }
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
