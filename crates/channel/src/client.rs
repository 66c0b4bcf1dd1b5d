//! A client for one service, for tonic's generated code.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::Status;

use crate::{Mesh, ResponseBody, Target};

/// Calls one service, or one instance of it. It is a tower service and cheap to clone.
///
/// ```no_run
/// use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
///
/// # async fn example(mesh: mesh_channel::Mesh) -> Result<(), tonic::Status> {
/// let mut echo = AgentServiceClient::new(mesh.channel("agent-echo").session("s-1"));
/// let answer = echo.execute_task(TaskRequest::default()).await?;
/// # drop(answer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    mesh: Mesh,
    target: Target,
}

impl Mesh {
    /// A client for one service: the `T` of tonic's generated clients.
    #[must_use]
    pub fn channel(&self, service: &str) -> Channel {
        Channel {
            mesh: self.clone(),
            target: Target::service(service),
        }
    }
}

impl Channel {
    /// The same service, but only this instance of it.
    #[must_use]
    pub fn instance(mut self, id: &str) -> Self {
        self.target = self.target.instance(id);
        self
    }

    /// The same service, for one session.
    #[must_use]
    pub fn session(mut self, id: &str) -> Self {
        self.target = self.target.session(id);
        self
    }
}

impl tower::Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Each pick checks the capacity of the instance.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let Self { mesh, target } = self.clone();
        Box::pin(async move {
            mesh.call(&target, request, |_| {})
                .await
                .map_err(|error| error.status())
        })
    }
}
