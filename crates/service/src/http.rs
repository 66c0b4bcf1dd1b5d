//! Carries HTTP programs: any number of ports in place of the gRPC one, HTTP/1.1 and HTTP/2 in
//! cleartext, WebSocket upgrades among them, drained as gRPC ports are.

use std::{
    convert::Infallible, future::Future, net::SocketAddr, net::TcpListener as StdListener,
    pin::Pin, time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::{Active, Front, listener, server::Owner};

/// How long a client may take to send its request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who sent a request: in the extensions of every request of an [`HttpFront`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The ports of an HTTP program, each with what answers there.
#[derive(Debug, Default)]
pub struct HttpFront {
    active: Active,
    tasks: TaskTracker,
    leave: CancellationToken,
    cut: CancellationToken,
}

impl HttpFront {
    /// Serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers every request of a listener with `service`; needs a tokio runtime.
    ///
    /// # Errors
    /// When the listener cannot be waited for.
    pub fn serve<S, B>(&self, listener: StdListener, service: S) -> anyhow::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
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
        let (active, tasks) = (self.active.clone(), self.tasks.clone());
        let (leave, cut) = (self.leave.clone(), self.cut.clone());
        let owner = Owner(self.tasks.clone());
        self.tasks.spawn(async move {
            while let Some((stream, peer)) =
                leave.run_until_cancelled(listener::accept(&listener)).await
            {
                let (service, active) = (service.clone(), active.clone());
                let (leave, cut, owner) = (leave.clone(), cut.clone(), owner.clone());
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer(peer));
                    let (service, task) = (service.clone(), active.begin());
                    async move {
                        let answer = service.oneshot(request).await;
                        drop(task);
                        answer
                    }
                });
                tasks.spawn(async move {
                    let mut builder = auto::Builder::new(owner.clone());
                    builder
                        .http1()
                        .timer(TokioTimer::new())
                        .header_read_timeout(PATIENCE);
                    builder
                        .http2()
                        .timer(TokioTimer::new())
                        .max_local_error_reset_streams(None);
                    let connection =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    tokio::pin!(connection);
                    let ended = tokio::select! {
                        ended = connection.as_mut() => Some(ended),
                        () = leave.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            cut.run_until_cancelled(connection).await
                        }
                    };
                    if let Some(Err(error)) = ended {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                });
            }
        });
        Ok(())
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
