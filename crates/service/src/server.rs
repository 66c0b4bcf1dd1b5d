//! The gRPC port: an accept loop over HTTP/2, whose connections are told to go away in a drain and
//! whose calls then finish.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::rpc::ServerCalls;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::{
    Active, Behind, Front, Notes, access,
    bounds::bounded,
    clients::{Clients, Connection, Exceeded, FORWARDED},
    config::Config,
    listener,
    observe::{Seen, observe},
    served::{BuildFront, Handler},
};

/// How long the last answers may take from us to the client's socket.
const FLUSH: Duration = Duration::from_millis(500);

/// How long a client that is turned away may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// Limits of a connection, from the configuration.
#[derive(Clone, Copy, Debug)]
struct Limits {
    streams: u32,
    header_bytes: u32,
    /// After which it is told to go away; zero is never.
    age: Duration,
    /// How long its calls may then go on; zero is for ever.
    grace: Duration,
}

/// What answers the requests.
pub(crate) struct App {
    pub(crate) handler: Option<Handler>,
    pub(crate) routes: tonic::service::Routes,
    /// Path prefixes that the routes answer even though there is a handler.
    pub(crate) own: Vec<&'static str>,
    pub(crate) calls: ServerCalls,
    pub(crate) max_message_bytes: usize,
    pub(crate) draining: CancellationToken,
    pub(crate) notes: Notes,
    pub(crate) clients: Option<Arc<Clients>>,
    pub(crate) access: Option<Arc<access::Log>>,
}

/// The listener and all its connections.
pub(crate) struct Server {
    app: Arc<App>,
    limits: Limits,
    active: Active,
    tasks: TaskTracker,
    leave: CancellationToken,
    cut: CancellationToken,
    /// Carries the clients' connections, where hyper does not.
    front: Option<Arc<dyn Front>>,
}

/// Hands the tasks of a connection to their owner.
#[derive(Clone)]
pub(crate) struct Owner(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Owner
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
        front: Option<BuildFront>,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let mut server = Self {
            app: Arc::new(app),
            limits: Limits {
                streams: config.integer("max_concurrent_streams"),
                header_bytes: u32::try_from(config.size("max_header_bytes")).unwrap_or(u32::MAX),
                age: config.duration("max_connection_age"),
                grace: config.duration("max_connection_age_grace"),
            },
            active: Active::default(),
            tasks: TaskTracker::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            front: None,
        };
        if let Some(build) = front {
            let connections = server.connections(true);
            let connect = move |stream| connections(stream, None);
            let behind = Behind::new(connect, &server.app);
            server.front = Some(build(behind, listener.into_std()?)?);
            return Ok(server);
        }
        let leave = server.leave.clone();
        let connections = server.connections(false);
        let (clients, tasks) = (server.app.clients.clone(), server.tasks.clone());
        server.tasks.spawn(async move {
            while let Some((stream, peer)) =
                leave.run_until_cancelled(listener::accept(&listener)).await
            {
                let connection = clients.as_ref().map(|clients| clients.connect(peer));
                match connection.transpose() {
                    Ok(connection) => {
                        tracing::debug!(%peer, "connected");
                        connections(stream, connection);
                    }
                    Err(exceeded) => {
                        tracing::debug!(%peer, key = exceeded.0, "turned away");
                        tasks.spawn(turn_away(stream, exceeded));
                    }
                }
            }
        });
        Ok(server)
    }

    /// How many calls are running, health and reflection left out.
    pub(crate) fn active(&self) -> usize {
        // A front counts the calls to what is behind it too.
        match &self.front {
            Some(front) => front.active(),
            None => usize::try_from(self.active.count()).unwrap_or(0),
        }
    }

    /// Stops accepting, sends GOAWAY, lets calls finish for `limit`, and answers how many were cut.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        self.leave.cancel();
        self.tasks.close();
        if let Some(front) = &self.front {
            let cut = front.drain(limit).await;
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
    fn connections<S>(&self, own: bool) -> impl Fn(S, Option<Connection>) + Send + Sync + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (app, active, mut limits) = (self.app.clone(), self.active.clone(), self.limits);
        if own {
            limits.age = Duration::ZERO;
        }
        let (tasks, leave, cut) = (self.tasks.clone(), self.leave.clone(), self.cut.clone());
        move |stream, client| {
            let (app, active, client) = (app.clone(), active.clone(), client.map(Arc::new));
            let service = service_fn(move |request| {
                let (app, active, client) = (app.clone(), active.clone(), client.clone());
                async move {
                    let answer = app.answer(request, &active, client.as_deref(), own);
                    Ok::<_, Infallible>(answer.await)
                }
            });
            let mut builder = http2::Builder::new(Owner(tasks.clone()));
            builder
                .timer(TokioTimer::new())
                // Clients that cancel calls must not cost the others their connection.
                .max_local_error_reset_streams(None)
                .max_pending_accept_reset_streams(usize::try_from(limits.streams).ok())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(limits.header_bytes);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let (leave, cut) = (leave.clone(), cut.clone());
            tasks.spawn(async move {
                tokio::pin!(connection);
                let ended = tokio::select! {
                    ended = connection.as_mut() => Some(ended),
                    () = leave.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        cut.run_until_cancelled(connection).await
                    }
                    () = age(limits.age, rand::random_range(0.9..=1.1)) => {
                        connection.as_mut().graceful_shutdown();
                        tokio::select! {
                            ended = cut.run_until_cancelled(connection) => ended,
                            () = age(limits.grace, 1.0) => None,
                        }
                    }
                };
                if let Some(Err(error)) = ended {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
    }
}

/// Waits for a time that is not zero.
async fn age(time: Duration, jitter: f64) {
    if time.is_zero() {
        std::future::pending::<()>().await;
    }
    sleep(time.mul_f64(jitter)).await;
}

/// Says in HTTP/2 why a connection is not wanted: empty SETTINGS, and GOAWAY with
/// `ENHANCE_YOUR_CALM` and the key.
async fn turn_away(mut stream: TcpStream, Exceeded(key): Exceeded) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: &[u8] = &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    let length = u8::try_from(8 + key.len()).unwrap_or(u8::MAX);
    let words = [SETTINGS, &[0, 0, length], GOAWAY, key.as_bytes()].concat();
    let said = async {
        stream.write_all(&words).await?;
        stream.shutdown().await?;
        // What the client has sent is read, or the kernel would take our words back.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // A client that is gone already needs no words.
    timeout(LINGER, said).await.ok();
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
        active: &Active,
        client: Option<&Connection>,
        own: bool,
    ) -> Response<Body> {
        if request.method() == Method::GET
            && let Some(answer) = self.probe(request.uri().path())
        {
            return answer;
        }
        let headers = request.headers();
        let address = client.map(|client| {
            let forwarded = headers.get_all(FORWARDED).iter();
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
            Ok(permit) => (permit, None),
            Err(exceeded) => (None, Some(exceeded.status())),
        };
        let seen = Seen { permit, record };
        observe(request, &self.calls, active, seen, |request| async {
            match refused {
                Some(status) => status.into_http(),
                None => self.dispatch(request).await,
            }
        })
        .await
    }

    /// What HAProxy and the like ask on the gRPC port itself.
    fn probe(&self, path: &str) -> Option<Response<Body>> {
        let (status, told) = match path {
            "/readyz" if self.draining.is_cancelled() => (StatusCode::NOT_FOUND, String::new()),
            "/readyz" => self.notes.readiness(),
            "/healthz" => (StatusCode::OK, String::new()),
            _ => return None,
        };
        let mut answer = Response::new(Body::new(Full::new(Bytes::from(told))));
        *answer.status_mut() = status;
        Some(answer)
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        match &self.handler {
            Some(handler) if !self.own.iter().any(|prefix| path.starts_with(prefix)) => {
                handler(request).await
            }
            _ => {
                bounded(request, self.max_message_bytes, |request| {
                    self.route(request)
                })
                .await
            }
        }
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        match self.routes.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
