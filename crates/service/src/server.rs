//! The gRPC port: an accept loop over HTTP/2, whose connections are told to go away in a drain and
//! whose calls then finish.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::rpc::ServerCalls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::{
    ActiveTasks, LocalBackend, Listener, Conditions, access,
    call_limits::{self, CallLimits, with_call_limits, until_drain},
    clients::{Clients, ClientConnection, X_FORWARDED_FOR},
    connection::{Lifetime, ConnectionLimits, ConnectionMonitor, drive, reject},
    socket,
    keys::CallKeys,
    observe::{CallContext, counts_for_drain, observe},
    probes,
    services::{BuildListener, Handler},
    protocol_mismatch::ProtocolMismatch,
    authority::AuthorityFilter,
};

/// How long the last answers may take from us to the client's socket.
const FLUSH: Duration = Duration::from_millis(500);

/// So many times the largest metadata is read all the same, so that its call is told of the limit and
/// no other. Beyond it HTTP/2 answers with a status of HTTP, and far beyond ends the connection.
pub(crate) const METADATA_HEADROOM: u32 = 16;

/// A body of so many bytes is heard out though nobody wants it.
const DRAINED_BODY: usize = 64 * 1024;

/// What answers the requests.
pub(crate) struct App {
    pub(crate) handler: Option<Handler>,
    pub(crate) routes: tonic::service::Routes,
    /// Path prefixes that the routes answer even though there is a handler.
    pub(crate) own: Vec<&'static str>,
    pub(crate) calls: ServerCalls,
    pub(crate) call_limits: CallLimits,
    pub(crate) draining: CancellationToken,
    pub(crate) conditions: Conditions,
    /// Cancelled when connections are told to go away.
    pub(crate) leave: CancellationToken,
    pub(crate) clients: Arc<Clients>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) access: Option<Arc<access::AccessLog>>,
}

/// The listener and all its connections.
pub(crate) struct Server {
    app: Arc<App>,
    /// After which a connection is told to go away; zero is never.
    age: Duration,
    /// How long its calls may then go on; zero is for ever.
    grace: Duration,
    active: ActiveTasks,
    tasks: TaskTracker,
    leave: CancellationToken,
    cut: CancellationToken,
    /// Carries the clients' connections, where hyper does not.
    own_listener: Option<Arc<dyn Listener>>,
}

/// Hands the tasks of a connection to their owner.
#[derive(Clone)]
pub(crate) struct TrackedExecutor(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Server {
    /// Serves until [`Server::drain`], or until it is dropped.
    pub(crate) fn start(
        listener: TcpListener,
        app: App,
        build_listener: Option<BuildListener>,
        keys: &CallKeys,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            leave: app.leave.clone(),
            app: Arc::new(app),
            age: keys.max_connection_age,
            grace: keys.max_connection_age_grace,
            active: ActiveTasks::default(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
            own_listener: None,
        };
        if let Some(build) = build_listener {
            let connections = server.connections(true);
            let connect = move |stream| connections(stream, None, None);
            let backend = LocalBackend::new(connect, &server.app);
            server.own_listener = Some(build(backend, listener.into_std()?)?);
            return Ok(server);
        }
        let leave = server.leave.clone();
        let connections = Arc::new(server.connections(false));
        // Of the programs on this kind of port, the router alone is called by all kinds of clients.
        let rewrite_authorities = server.app.handler.is_some();
        let (app, tasks) = (server.app.clone(), server.tasks.clone());
        server.tasks.spawn(async move {
            while let Some((stream, peer)) =
                leave.run_until_cancelled(socket::accept(&listener)).await
            {
                match app.clients.connect(peer) {
                    Ok(client) => {
                        tracing::debug!(%peer, "connected");
                        let (connections, leave) = (Arc::clone(&connections), leave.clone());
                        let limits = app.limits;
                        tasks.spawn(async move {
                            let first = limits.handshake(ProtocolMismatch::sniff(&stream));
                            match leave.run_until_cancelled(first).await {
                                Some(Ok(Some(mismatch))) => mismatch.reject(stream, peer).await,
                                Some(Err(_)) => tracing::debug!(%peer, "said nothing in time"),
                                _ => {
                                    let (stream, watch) = limits.guard(stream);
                                    let stream = AuthorityFilter::new(stream, rewrite_authorities, limits.header_bytes);
                                    connections(stream, Some(client), Some(watch));
                                }
                            }
                        });
                    }
                    Err(exceeded) => {
                        tracing::debug!(%peer, key = exceeded.0, "turned away");
                        tasks.spawn(reject(stream, exceeded));
                    }
                }
            }
        });
        Ok(server)
    }

    /// How many calls are running, health and reflection left out.
    pub(crate) fn active(&self) -> usize {
        // A front counts the calls to what is behind it too.
        match &self.own_listener {
            Some(listener) => listener.active(),
            None => usize::try_from(self.active.count()).unwrap_or(0),
        }
    }

    /// Stops accepting, sends GOAWAY, lets calls finish for `limit`, and answers how many were cut.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        self.leave.cancel();
        self.tasks.close();
        if let Some(listener) = &self.own_listener {
            let cut = listener.drain(limit).await;
            self.cut.cancel();
            self.tasks.wait().await;
            return cut;
        }
        let quiet = async {
            loop {
                while self.active() > 0 {
                    sleep(Duration::from_millis(10)).await;
                }
                // Whoever does not close by then has only a health watch open, or is gone; a call
                // that crossed our GOAWAY on the wire is waited for like the others.
                let closed = timeout(FLUSH, self.tasks.wait()).await.is_ok();
                if closed || self.active() == 0 {
                    break;
                }
            }
        };
        let finished = timeout(limit, quiet).await.is_ok();
        let running = if finished { 0 } else { self.active() };
        self.cut.cancel();
        self.tasks.wait().await;
        running
    }

    /// What to do with a connection. One from our own front never grows old.
    fn connections<S>(
        &self,
        own: bool,
    ) -> impl Fn(S, Option<ClientConnection>, Option<ConnectionMonitor>) + Send + Sync + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (app, active, limits) = (self.app.clone(), self.active.clone(), self.app.limits);
        let age = if own { Duration::ZERO } else { self.age };
        let (tasks, leave, cut) = (self.tasks.clone(), self.leave.clone(), self.cut.clone());
        let grace = self.grace;
        move |stream, client, watch| {
            let (app, active, client) = (app.clone(), active.clone(), client.map(Arc::new));
            let service = service_fn(move |request| {
                let (app, active, client) = (app.clone(), active.clone(), client.clone());
                async move {
                    let answer = app.answer(request, &active, client.as_deref(), own);
                    Ok::<_, Infallible>(answer.await)
                }
            });
            let mut builder = http2::Builder::new(TrackedExecutor(tasks.clone()));
            builder
                .timer(TokioTimer::new())
                // Calls that are reset are counted by the stream itself.
                .max_local_error_reset_streams(None)
                .max_pending_accept_reset_streams(usize::try_from(limits.streams).ok())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(limits.header_bytes.saturating_mul(METADATA_HEADROOM));
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let lifetime = Lifetime {
                drain: leave.clone(),
                abort: cut.clone(),
                age,
                grace,
            };
            let shut = http2::Connection::graceful_shutdown;
            tasks.spawn(drive(connection, shut, watch, lifetime));
        }
    }
}

/// Reads a small body whose request is refused by its head: there are clients that take an answer
/// which overtakes it for a broken connection.
async fn drain_body(body: Incoming) {
    if !body.is_end_stream() {
        let drained = Limited::new(body, DRAINED_BODY).collect();
        timeout(FLUSH, drained).await.ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
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
        if let Some(answer) = probes::answer(&request, || self.readiness()) {
            drain_body(request.into_body()).await;
            return answer;
        }
        let headers = request.headers();
        // Nobody has to be known where nothing is counted or written down.
        let client = client.filter(|client| client.counts_calls() || self.access.is_some());
        let address = client.map(|client| {
            let forwarded = headers.get_all(X_FORWARDED_FOR).iter();
            client.address(forwarded.filter_map(|value| value.to_str().ok()))
        });
        let method = request.uri().path().trim_start_matches('/');
        // Before a front the calls of its clients are its own to write down.
        let access = self.access.as_ref().filter(|_| !own);
        let record = access.map(|log| {
            let header = |name: &str| Some(headers.get(name)?.as_bytes());
            log.begin(address, method, header)
        });
        let admitted = client.zip(address).map(|(client, at)| client.call(at));
        let (permit, refused) = match admitted.transpose() {
            Ok(permit) => (
                permit,
                call_limits::oversized_metadata(&request, self.limits.header_bytes),
            ),
            Err(exceeded) => (None, Some(exceeded.status())),
        };
        let context = CallContext { permit, record };
        observe(request, &self.calls, active, context, |request| async {
            match refused {
                Some(status) => status.into_http(),
                None => self.dispatch(request).await,
            }
        })
        .await
    }

    /// What HAProxy and the like are told on the gRPC port itself.
    fn readiness(&self) -> (StatusCode, String) {
        if self.draining.is_cancelled() {
            return (StatusCode::NOT_FOUND, "draining".to_owned());
        }
        self.conditions.readiness()
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let is_open_ended = !counts_for_drain(path);
        let own = self.own.iter().any(|prefix| path.starts_with(prefix));
        let next = async {
            match &self.handler {
                Some(handler) if !own => handler(request).await,
                _ => with_call_limits(request, self.call_limits, |request| self.route(request)).await,
            }
        };
        if is_open_ended {
            until_drain(self.leave.clone(), next).await
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
