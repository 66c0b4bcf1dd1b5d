//! What a service serves: gRPC services of tonic, or any HTTP/2 service of its own.

use std::{convert::Infallible, fmt, future::Future, net::TcpListener, pin::Pin, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Service, ServiceExt as _};

use crate::{
    HttpListener, RequestBody,
    listener::{LocalBackend, Listener},
};

/// Answers one request; there is no other way to fail than an answer that says so.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync,
>;

/// What a build function returns.
#[derive(Default)]
pub struct Services {
    pub(crate) routes: Routes,
    pub(crate) raw: Option<Handler>,
    pub(crate) names: Vec<String>,
    pub(crate) descriptors: Vec<&'static [u8]>,
    pub(crate) listener: Option<BuildListener>,
    pub(crate) speaks_http: bool,
}

/// Makes a front of what is behind it, on the listener of the gRPC port.
pub(crate) type BuildListener =
    Box<dyn FnOnce(LocalBackend, TcpListener) -> anyhow::Result<Arc<dyn Listener>> + Send>;

impl Services {
    /// Nothing yet, beside health and reflection, which the chassis adds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tonic service, and announces its name.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME.to_owned());
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds an encoded `google.protobuf.FileDescriptorSet` to what reflection knows.
    #[must_use]
    pub fn descriptors(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.push(encoded);
        self
    }

    /// Lets a front carry the gRPC port, with all that is served behind it.
    #[must_use]
    pub fn listener(
        mut self,
        build: impl FnOnce(LocalBackend, TcpListener) -> anyhow::Result<Arc<dyn Listener>> + Send + 'static,
    ) -> Self {
        self.listener = Some(Box::new(build));
        self
    }

    /// Serves HTTP in place of gRPC on the program's port: every request goes to `service`, which
    /// answers `/readyz` too, since that is what Consul then checks.
    #[must_use]
    pub fn http<S, B>(self, service: S) -> Self
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.listener(|backend, listener| {
            let ports = HttpListener::new(&backend);
            ports.serve(listener, service)?;
            Ok(Arc::new(ports))
        })
        .checked_by_http()
    }

    /// Says that the port speaks HTTP and not gRPC: Consul checks `GET /readyz` on it.
    #[must_use]
    pub fn checked_by_http(mut self) -> Self {
        self.speaks_http = true;
        self
    }

    /// Announces a gRPC service that the raw service answers for.
    #[must_use]
    pub fn name(mut self, service: &str) -> Self {
        self.names.push(service.to_owned());
        self
    }

    /// Gives every request that is not the chassis' own to `service`. The chassis answers gRPC
    /// health, `/readyz`, `/healthz`, and reflection where descriptors are given.
    #[must_use]
    pub fn raw<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.raw = Some(Arc::new(move |request| {
            let answer = service.clone().oneshot(request);
            Box::pin(async move {
                match answer.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        }));
        self
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
