//! A client for one service, as tonic's generated code wants it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::Status;

use crate::{Mesh, ResponseBody, Target};

/// Calls one service (or one instance of it): a tower service, cheap to clone.
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
    /// The same service, one instance of it only.
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
        // Capacity is looked at per instance, when one is picked.
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
