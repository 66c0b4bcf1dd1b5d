//! What answers a port: the endpoint of MCP straight, everything else by the table of endpoints.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{Router, body::Body, response::Response};
use http::Request;
use service::RequestBody;
use tower::{Service, ServiceExt as _};

use super::{McpServer, scope::Route};

/// A port of the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    mcp: Arc<McpServer>,
    rest: Router,
}

impl Front {
    pub(crate) fn new(mcp: Arc<McpServer>, rest: Router) -> Self {
        Self { mcp, rest }
    }
}

impl Service<Request<RequestBody>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let Some(route) = Route::of(request.uri()) else {
            return Box::pin(self.rest.clone().oneshot(request.map(Body::new)));
        };
        let mcp = Arc::clone(&self.mcp);
        Box::pin(async move { Ok(mcp.answer(route, request).await) })
    }
}

impl McpServer {
    /// Answers one request of HTTP.
    async fn answer(self: Arc<Self>, route: Route, request: Request<RequestBody>) -> Response {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let label = route.label();
        let method = parts.method.clone();
        let origin = self.guard.origin(&parts);
        let mut answer = match self.guard.check(&parts) {
            Err(refusal) => refusal,
            Ok(()) => match self.guard.preflight(&parts) {
                Some(answer) => answer,
                None => self.serve(route, parts, body).await,
            },
        };
        self.guard.allow(&mut answer, origin);
        let status = answer.status().as_u16();
        self.http
            .observe(&method, label, status, began.elapsed(), None);
        answer
    }
}
