//! Carries HTTP programs: any number of ports in place of the gRPC one, HTTP/1.1 and HTTP/2 in
//! cleartext, WebSocket upgrades among them, drained as gRPC ports are.

use std::{
    convert::Infallible, future::Future, net::SocketAddr, net::TcpListener as StdListener,
    pin::Pin, sync::Arc, time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::{
    ActiveTasks, LocalBackend, Listener, RequestBody,
    clients::{Clients, ClientConnection},
    connection::{Lifetime, ConnectionLimits, drive, stalled_streams::StreamExecutor, reject},
    socket,
    response_body::ResponseBody,
};

/// Who sent a request: in the extensions of every request of an [`HttpListener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The least room that HTTP/1 takes for a head, bytes.
const MIN_HEAD_BYTES: usize = 8192;

/// The ports of an HTTP program, each with what answers there.
#[derive(Debug)]
pub struct HttpListener {
    active: ActiveTasks,
    tasks: TaskTracker,
    leave: CancellationToken,
    cut: CancellationToken,
    limits: ConnectionLimits,
    clients: Arc<Clients>,
}

impl HttpListener {
    /// Serves nothing yet; what is behind it tells the limits.
    #[must_use]
    pub fn new(backend: &LocalBackend) -> Self {
        Self {
            active: ActiveTasks::default(),
            tasks: TaskTracker::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            limits: backend.limits,
            clients: Arc::clone(&backend.clients),
        }
    }

    /// Answers every request of a listener with `service`; needs a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be waited for.
    pub fn serve<S, B>(&self, listener: StdListener, service: S) -> anyhow::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener).context("wait for connections")?;
        let port = Port {
            service,
            active: self.active.clone(),
            streams: StreamExecutor {
                tasks: self.tasks.clone(),
                timeout: self.limits.body,
            },
            leave: self.leave.clone(),
            cut: self.cut.clone(),
            limits: self.limits,
        };
        let (tasks, clients) = (self.tasks.clone(), self.clients.for_other_port());
        self.tasks.spawn(async move {
            let leave = port.leave.clone();
            while let Some((stream, peer)) =
                leave.run_until_cancelled(socket::accept(&listener)).await
            {
                match clients.connect(peer) {
                    Ok(client) => {
                        tasks.spawn(port.clone().connection(stream, peer, client));
                    }
                    Err(exceeded) => {
                        tracing::debug!(%peer, key = exceeded.0, "turned away");
                        tasks.spawn(reject(stream, exceeded));
                    }
                }
            }
        });
        Ok(())
    }
}

/// What every connection of a port needs.
#[derive(Clone)]
struct Port<S> {
    service: S,
    active: ActiveTasks,
    streams: StreamExecutor,
    leave: CancellationToken,
    cut: CancellationToken,
    limits: ConnectionLimits,
}

impl<S> Port<S> {
    /// Serves one connection to its end, and counts it so long.
    async fn connection<B>(self, stream: TcpStream, peer: SocketAddr, client: ClientConnection)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (stream, watch) = self.limits.guard(stream);
        let (requests, limits) = (watch.requests(), self.limits);
        let (service, active) = (self.service, self.active);
        // An upgraded connection goes on after its first task, with the request that asked for it.
        let client = Arc::new(client);
        let service = service_fn(move |request: Request<Incoming>| {
            let (service, task, open) = (service.clone(), active.begin(), requests.begin());
            let client = Arc::clone(&client);
            let mut request = request.map(|body| RequestBody::new(body, limits.body));
            request.extensions_mut().insert(PeerAddr(peer));
            async move {
                let answer = service.oneshot(request).await;
                drop(task);
                answer.map(|answer| answer.map(|body| ResponseBody::new(body, open, client)))
            }
        });
        let mut builder = auto::Builder::new(self.streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            .max_buf_size((limits.header_bytes as usize).max(MIN_HEAD_BYTES))
            // The stream's own watch tells a slow head from a connection at rest.
            .header_read_timeout(None);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_bytes)
            .max_pending_accept_reset_streams(usize::try_from(limits.streams).ok())
            .max_local_error_reset_streams(None);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let lifetime = Lifetime {
            drain: self.leave,
            abort: self.cut,
            age: Duration::ZERO,
            grace: Duration::ZERO,
        };
        drive(connection, |it| it.graceful_shutdown(), Some(watch), lifetime).await;
    }
}

impl Listener for HttpListener {
    fn active(&self) -> usize {
        usize::try_from(self.active.count()).unwrap_or(0)
    }

    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            self.leave.cancel();
            self.tasks.close();
            // A connection closes when its answers have gone out to their end.
            timeout(limit, self.tasks.wait()).await.ok();
            let running = self.tasks.len();
            self.cut.cancel();
            self.tasks.wait().await;
            running
        })
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
    }
}
