//! The gRPC port: an accept loop over HTTP/2, whose connections are told to go away in a drain and
//! whose calls then finish.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode};
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
    Active, Behind, Front,
    bounds::bounded,
    config::Config,
    listener,
    observe::observe,
    served::{BuildFront, Handler},
};

/// How long the last answers may take from us to the client's socket.
const FLUSH: Duration = Duration::from_millis(500);

/// Limits of a connection, from the configuration.
#[derive(Clone, Copy, Debug)]
struct Limits {
    streams: u32,
    header_bytes: u32,
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
        let limit = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut server = Self {
            app: Arc::new(app),
            limits: Limits {
                streams: limit(config.integer("max_concurrent_streams")),
                header_bytes: limit(config.size("max_header_bytes") as u64),
            },
            active: Active::default(),
            tasks: TaskTracker::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            front: None,
        };
        if let Some(build) = front {
            let behind = Behind::new(server.connections(), server.app.calls.clone());
            server.front = Some(build(behind, listener.into_std()?)?);
            return Ok(server);
        }
        let leave = server.leave.clone();
        let connections = server.connections();
        server.tasks.spawn(async move {
            while let Some((stream, peer)) =
                leave.run_until_cancelled(listener::accept(&listener)).await
            {
                tracing::debug!(%peer, "connected");
                connections(stream);
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

    /// What to do with a connection.
    fn connections<S>(&self) -> impl Fn(S) + Send + Sync + 'static
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (app, active, limits) = (self.app.clone(), self.active.clone(), self.limits);
        let (tasks, leave, cut) = (self.tasks.clone(), self.leave.clone(), self.cut.clone());
        move |stream| {
            let (app, active) = (app.clone(), active.clone());
            let service = service_fn(move |request| {
                let (app, active) = (app.clone(), active.clone());
                async move { Ok::<_, Infallible>(app.answer(request, &active).await) }
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
                };
                if let Some(Err(error)) = ended {
                    tracing::debug!(%error, "connection ended");
                }
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
    }
}

impl App {
    async fn answer(&self, request: Request<Incoming>, active: &Active) -> Response<Body> {
        if request.method() == Method::GET
            && let Some(answer) = self.probe(request.uri().path())
        {
            return answer;
        }
        observe(request, &self.calls, active, |request| {
            self.dispatch(request)
        })
        .await
    }

    /// What HAProxy and the like ask on the gRPC port itself.
    fn probe(&self, path: &str) -> Option<Response<Body>> {
        let status = match path {
            "/readyz" if self.draining.is_cancelled() => StatusCode::NOT_FOUND,
            "/readyz" | "/healthz" => StatusCode::OK,
            _ => return None,
        };
        let mut answer = Response::new(Body::empty());
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
