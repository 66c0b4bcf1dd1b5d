//! What happens to a request on the router's port: its route, its service, its way there.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use channel::{Mesh, Target};
use http::{Request, Response, request::Parts};
use hyper::body::Incoming;
use service::CallLimits;
use tokio::time::Instant;
use tonic::{Status, body::Body, service::Routes};
use tower::{Service, ServiceExt as _};

use crate::{
    body::{Inspected, Inspector},
    directory::Directory,
    forward::{INSTANCE, forward, refuse},
    routes::{self, Route},
    scanner::{Fields, FrameMeter, Scanner},
    tasks::TaskLocations,
};

/// The method whose tasks are asked after later.
pub(crate) const PROCESS_TASK: &str = "/agentplatform.TaskWorker/ProcessTask";

/// The router, as an HTTP/2 service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) mesh: Mesh,
    pub(crate) directory: Arc<Directory>,
    pub(crate) tasks: Arc<TaskLocations>,
    /// What the router answers itself.
    pub(crate) local: Routes,
    pub(crate) max_message_bytes: u64,
    /// Of what the router answers itself.
    pub(crate) bounds: CallLimits,
}

impl Server {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let outcome = match routes::route(&parts) {
            Route::Local => {
                let request = Request::from_parts(parts, incoming);
                let own = async |request| {
                    let Ok(response) = self.local.oneshot(request).await;
                    response
                };
                return service::with_call_limits(request, self.bounds, own).await;
            }
            Route::Metadata => self.by_metadata(parts, incoming).await,
            Route::Message(fields) => self.by_message(parts, incoming, fields).await,
        };
        outcome.unwrap_or_else(|status| refuse(&status))
    }

    async fn by_metadata(self, parts: Parts, body: Incoming) -> Result<Response<Body>, Status> {
        let snapshot =
            routes::wait_until_ready(&self.directory, self.mesh.options().queue_timeout).await?;
        let service = routes::by_metadata(&snapshot, &parts)?;
        let session = routes::metadata_text(&parts, routes::SESSION)?.unwrap_or_default();
        let target = target(&parts, &service, session)?;
        let meter = Inspector::Meter(FrameMeter::new(self.max_message_bytes));
        let body = Body::new(Inspected::new(body, meter));
        Ok(forward(
            &self.mesh,
            &target,
            Request::from_parts(parts, body),
            |_| {},
        )
        .await)
    }

    async fn by_message(
        self,
        parts: Parts,
        body: Incoming,
        fields: &'static Fields,
    ) -> Result<Response<Body>, Status> {
        let encoding = routes::metadata_text(&parts, "grpc-encoding")?;
        let scanner = Scanner::new(fields)
            .max_message_bytes(self.max_message_bytes)
            .encoding(encoding);
        let mut body = Inspected::new(body, Inspector::Scan(Box::new(scanner)));
        body.identify(false).await?;
        let snapshot =
            routes::wait_until_ready(&self.directory, self.mesh.options().queue_timeout).await?;
        let service = match body.scanner().and_then(Scanner::id) {
            Some(id) => routes::by_id(&snapshot, id)?,
            None => {
                routes::by_authority(&snapshot, &parts).ok_or_else(|| routes::missing_id(fields))?
            }
        };
        let session = self.session(&parts, &mut body, &service).await?;
        let target = target(&parts, &service, &session)?;
        let task = (parts.uri.path() == PROCESS_TASK)
            .then(|| body.scanner().and_then(Scanner::task).map(str::to_owned))
            .flatten();
        let tasks = Arc::clone(&self.tasks);
        let request = Request::from_parts(parts, Body::new(body));
        let answer = forward(&self.mesh, &target, request, |instance| {
            if let Some(task) = &task {
                tasks.record(task, &service, &instance.key, Instant::now());
            }
        });
        Ok(answer.await)
    }

    /// The session of a call, where the service's policy wants to know it: in agentplatform
    /// messages its field comes last, so that waiting for it is waiting for the whole message.
    async fn session(
        &self,
        parts: &Parts,
        body: &mut Inspected,
        service: &str,
    ) -> Result<String, Status> {
        if let Some(session) = routes::metadata_text(parts, routes::SESSION)? {
            return Ok(session.to_owned());
        }
        if !self.mesh.wants_session(service) {
            return Ok(String::new());
        }
        body.identify(true).await?;
        Ok(body
            .scanner()
            .and_then(Scanner::session)
            .unwrap_or_default()
            .to_owned())
    }
}

/// Whom a call is for, with the instance that it may ask for.
fn target(parts: &Parts, service: &str, session: &str) -> Result<Target, Status> {
    let target = Target::service(service).session(session);
    Ok(match routes::metadata_text(parts, INSTANCE.as_str())? {
        Some(id) => target.instance(id),
        None => target,
    })
}

impl Service<Request<Incoming>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { Ok(server.answer(request).await) })
    }
}
