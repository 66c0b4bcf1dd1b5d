//! The ports of HTTP programs: HTTP/1.1, HTTP/2 in cleartext and WebSocket upgrades, with the
//! connection limits and the drain that gRPC ports have.

use std::{
    convert::Infallible, future::Future, net::SocketAddr, net::TcpListener as StdListener,
    pin::Pin, sync::Arc, time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

use crate::{
    ActiveTasks, Listener, LocalBackend, RequestBody,
    port::{Accepted, HttpOptions, Port},
    response_body::ResponseBody,
};

/// Who sent a request: in the extensions of every request of an [`HttpListener`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The body of a response on a port that speaks HTTP.
pub trait HttpBody:
    http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
    + Send
    + 'static
{
}

impl<B> HttpBody for B where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static
{
}

/// Answers the requests of a port that speaks HTTP: a tower service, such as an axum router.
pub trait HttpService<B>:
    Service<
        Request<RequestBody>,
        Response = Response<B>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S, B> HttpService<B> for S where
    S: Service<
            Request<RequestBody>,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The ports of an HTTP program, each with what answers there.
#[derive(Debug)]
pub struct HttpListener {
    active: ActiveTasks,
    port: Port,
}

impl HttpListener {
    /// A listener without ports, with the limits of the backend.
    #[must_use]
    pub fn new(backend: &LocalBackend) -> Self {
        Self {
            active: ActiveTasks::default(),
            port: backend.port.with_owner(
                TaskTracker::new(),
                CancellationToken::new(),
                CancellationToken::new(),
            ),
        }
    }

    /// Answers every request of a port with `service`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be polled.
    pub fn serve<B: HttpBody>(
        &self,
        listener: StdListener,
        service: impl HttpService<B>,
    ) -> anyhow::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener).context("wait for connections")?;
        serve(&self.port.another(), listener, &self.active, service);
        Ok(())
    }
}

/// Answers every request of a port with `service`.
pub(crate) fn serve<B: HttpBody>(
    port: &Port,
    listener: TcpListener,
    active: &ActiveTasks,
    service: impl HttpService<B>,
) {
    let (ours, active) = (port.clone(), active.clone());
    port.accept(listener, move |accepted| {
        connection(ours.clone(), accepted, active.clone(), service.clone())
    });
}

/// Serves one connection to its end.
fn connection<B: HttpBody>(
    port: Port,
    accepted: Accepted,
    active: ActiveTasks,
    service: impl HttpService<B>,
) -> impl Future<Output = ()> + Send {
    let Accepted {
        stream,
        peer,
        client,
    } = accepted;
    let limits = port.limits;
    let (stream, monitor) = limits.guard(stream, None);
    let requests = monitor.requests();
    // The request that asked for an upgrade holds its connection's count until it ends.
    let client = Arc::new(client);
    let service = service_fn(move |request: Request<Incoming>| {
        let (service, task, open) = (service.clone(), active.begin(), requests.begin());
        let client = Arc::clone(&client);
        let mut request = request.map(|body| RequestBody::new(body, limits.body));
        request.extensions_mut().insert(PeerAddr(peer));
        async move {
            let answer = service.oneshot(request).await?;
            drop(task);
            Ok::<_, Infallible>(answer.map(|body| ResponseBody::new(body, open, client)))
        }
    });
    let options = HttpOptions {
        header_bytes: limits.header_bytes,
        unread: limits.body,
    };
    port.run(stream, Some(monitor), options, service)
}

impl Listener for HttpListener {
    fn active(&self) -> usize {
        usize::try_from(self.active.count()).unwrap_or(0)
    }

    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            self.port.begin_drain();
            // A connection closes after its last answer is sent.
            self.port.closed_within(limit).await;
            self.port.abort().await
        })
    }
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.port.stop();
    }
}
