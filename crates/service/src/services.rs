//! What a program serves: tonic's gRPC services, a raw HTTP/2 service, or HTTP.

use std::{
    collections::BTreeMap, convert::Infallible, fmt, future::Future, net::TcpListener, pin::Pin,
    sync::Arc,
};

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::{Service, ServiceExt as _};

use crate::{
    HttpBody, HttpListener, HttpService,
    answers::Answer,
    listener::{Listener, LocalBackend},
};

/// Answers one request. It cannot fail except by its answer.
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
    pub(crate) admin_pages: BTreeMap<&'static str, AdminPage>,
}

/// Answers a GET on the admin listener.
pub(crate) type AdminPage =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// Builds the program's own listener from the local backend and the bound socket.
pub(crate) type BuildListener =
    Box<dyn FnOnce(LocalBackend, TcpListener) -> anyhow::Result<Arc<dyn Listener>> + Send>;

impl Services {
    /// No services. The chassis adds health and reflection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tonic service and advertises its name.
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

    /// Lets a listener of the program's own serve its port. All that is served is its local
    /// backend.
    #[must_use]
    pub fn listener(
        mut self,
        build: impl FnOnce(LocalBackend, TcpListener) -> anyhow::Result<Arc<dyn Listener>>
        + Send
        + 'static,
    ) -> Self {
        self.listener = Some(Box::new(build));
        self
    }

    /// Serves HTTP in place of gRPC on the program's port. Every request goes to `service`, which
    /// has to answer `/readyz` too: Consul checks that.
    #[must_use]
    pub fn http<B: HttpBody>(self, service: impl HttpService<B>) -> Self {
        self.listener(|backend, listener| {
            let ports = HttpListener::new(&backend);
            ports.serve(listener, service)?;
            Ok(Arc::new(ports))
        })
        .checked_by_http()
    }

    /// Declares that the port speaks HTTP and not gRPC: Consul checks `GET /readyz` on it.
    #[must_use]
    pub fn checked_by_http(mut self) -> Self {
        self.speaks_http = true;
        self
    }

    /// Answers GET of a path on the admin listener, to anybody. The path begins with a slash.
    #[must_use]
    pub fn admin_page<F>(
        mut self,
        path: &'static str,
        page: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let page = move || -> Pin<Box<dyn Future<Output = Answer> + Send>> { Box::pin(page()) };
        self.admin_pages.insert(path, Arc::new(page));
        self
    }

    /// Advertises a gRPC service that the raw service answers.
    #[must_use]
    pub fn name(mut self, service: &str) -> Self {
        self.names.push(service.to_owned());
        self
    }

    /// Sends every request to `service`, except those that the chassis answers: gRPC health,
    /// `/readyz`, `/healthz`, and reflection if there are descriptors.
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
