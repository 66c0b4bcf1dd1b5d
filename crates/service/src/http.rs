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
    Active, Behind, Front, Upload,
    clients::{Clients, Connection},
    connection::{Ends, Limits, drive, readers::Streams, turn_away},
    listener,
    reply::Reply,
};

/// Who sent a request: in the extensions of every request of an [`HttpFront`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The least room that HTTP/1 takes for a head, bytes.
const LEAST_HEAD: usize = 8192;

/// The ports of an HTTP program, each with what answers there.
#[derive(Debug)]
pub struct HttpFront {
    active: Active,
    tasks: TaskTracker,
    leave: CancellationToken,
    cut: CancellationToken,
    limits: Limits,
    clients: Arc<Clients>,
}

impl HttpFront {
    /// Serves nothing yet; what is behind it tells the limits.
    #[must_use]
    pub fn new(behind: &Behind) -> Self {
        Self {
            active: Active::default(),
            tasks: TaskTracker::new(),
            leave: CancellationToken::new(),
            cut: CancellationToken::new(),
            limits: behind.limits,
            clients: Arc::clone(&behind.clients),
        }
    }

    /// Answers every request of a listener with `service`; needs a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be waited for.
    pub fn serve<S, B>(&self, listener: StdListener, service: S) -> anyhow::Result<()>
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
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
            streams: Streams {
                tasks: self.tasks.clone(),
                patience: self.limits.body,
            },
            leave: self.leave.clone(),
            cut: self.cut.clone(),
            limits: self.limits,
        };
        let (tasks, clients) = (self.tasks.clone(), self.clients.another());
        self.tasks.spawn(async move {
            let leave = port.leave.clone();
            while let Some((stream, peer)) =
                leave.run_until_cancelled(listener::accept(&listener)).await
            {
                match clients.connect(peer) {
                    Ok(client) => {
                        tasks.spawn(port.clone().connection(stream, peer, client));
                    }
                    Err(exceeded) => {
                        tracing::debug!(%peer, key = exceeded.0, "turned away");
                        tasks.spawn(turn_away(stream, exceeded));
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
    active: Active,
    streams: Streams,
    leave: CancellationToken,
    cut: CancellationToken,
    limits: Limits,
}

impl<S> Port<S> {
    /// Serves one connection to its end, and counts it so long.
    async fn connection<B>(self, stream: TcpStream, peer: SocketAddr, client: Connection)
    where
        S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>
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
            let mut request = request.map(|body| Upload::new(body, limits.body));
            request.extensions_mut().insert(Peer(peer));
            async move {
                let answer = service.oneshot(request).await;
                drop(task);
                answer.map(|answer| answer.map(|body| Reply::new(body, open, client)))
            }
        });
        let mut builder = auto::Builder::new(self.streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            .max_buf_size((limits.header_bytes as usize).max(LEAST_HEAD))
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
        let ends = Ends {
            leave: self.leave,
            cut: self.cut,
            age: Duration::ZERO,
            grace: Duration::ZERO,
        };
        drive(connection, |it| it.graceful_shutdown(), Some(watch), ends).await;
    }
}

impl Front for HttpFront {
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

impl Drop for HttpFront {
    fn drop(&mut self) {
        self.leave.cancel();
        self.cut.cancel();
    }
}
