//! What the local backend behind the relay serves: the router's own routes, and hedged calls.

use std::sync::Arc;

use channel::Mesh;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use service::CallLimits;
use tonic::{Status, body::Body, service::Routes};
use tower::ServiceExt as _;

use crate::{hedging::HedgedCalls, tasks::TaskLocations};

/// The local backend's service. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct LocalService {
    pub(crate) mesh: Mesh,
    pub(crate) tasks: Arc<TaskLocations>,
    pub(crate) hedged: Arc<HedgedCalls>,
    /// What the router answers itself.
    pub(crate) routes: Routes,
    pub(crate) limits: CallLimits,
}

impl LocalService {
    pub(crate) async fn answer(self, mut request: Request<Incoming>) -> Response<Body> {
        if let Some(call) = self.hedged.take(request.headers_mut()) {
            let lost = |error| Status::cancelled(format!("the client left: {error}"));
            let request = request.map(|body| Body::new(body.map_err(lost)));
            return call.send(&self.mesh, &self.tasks, request).await;
        }
        let answer = async |request| {
            let Ok(response) = self.routes.oneshot(request).await;
            response
        };
        service::with_call_limits(request, self.limits, answer).await
    }
}
