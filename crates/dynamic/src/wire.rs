//! The way to a service: straight to its instances, or through a router.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use channel::{Mesh, Target};
use discovery::{Catalog, Kind};
use http::{Request, Response};
use parking_lot::Mutex;
use proto::error_info;
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::ServiceExt as _;

use crate::{INSTANCE, Malformed, router_address};

/// How long the registry may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for a connection to a router.
const CONNECT: Duration = Duration::from_secs(1);

/// How calls travel.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Straight to the instances, balanced here.
    Mesh(Mesh),
    /// Through a router, or a proxy in front of several.
    Router {
        /// The connection.
        channel: Channel,
        /// Its address, for messages.
        address: Arc<str>,
    },
}

impl Transport {
    /// Through the router at an address, which is connected to with the first call.
    ///
    /// # Errors
    /// [`Malformed`] for what is no address.
    pub fn router(address: &str) -> Result<Self, Malformed> {
        let address = router_address(address)?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| Malformed::Other(address.clone()))?;
        Ok(Self::Router {
            channel: endpoint.connect_timeout(CONNECT).connect_lazy(),
            address: address.into(),
        })
    }

    /// The Consul name of what a caller calls `echo-agent` or `agent-echo`. A router knows names
    /// better, so for one it is the name itself.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Arc<str>, Status> {
        let Self::Mesh(mesh) = self else {
            return Ok(name.into());
        };
        let mut catalog = mesh.discovery().catalog();
        let known = tokio::time::timeout(PATIENCE, catalog.wait_for(Option::is_some)).await;
        let catalog = known
            .ok()
            .and_then(Result::ok)
            .and_then(|known| known.clone());
        let Some(catalog) = catalog else {
            let text = format!("the registry has not answered within {PATIENCE:?}");
            let reason = "REGISTRY_UNREACHABLE";
            return Err(error_info::status(Code::Unavailable, reason, text, []));
        };
        find(&catalog, name).ok_or_else(|| {
            let text = format!("no service of the mesh is called {name:?}");
            let facts = [("id", name.to_owned())];
            error_info::status(Code::NotFound, "NO_SUCH_SERVICE", text, facts)
        })
    }

    pub(crate) fn wire(&self, target: Target) -> Wire {
        Wire {
            transport: self.clone(),
            target,
            instance: Arc::default(),
        }
    }
}

fn find(catalog: &Catalog, name: &str) -> Option<Arc<str>> {
    let services = &catalog.services;
    if let Some((known, _)) = services.get_key_value(name) {
        return Some(known.clone());
    }
    let is_called = |service: &str, tags: &[String]| {
        Kind::from_tags(tags).public_id(service).as_deref() == Some(name)
    };
    let found = services
        .iter()
        .find(|(service, tags)| is_called(service, tags));
    found.map(|(service, _)| service.clone())
}

/// A connection that notes who answers.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    transport: Transport,
    target: Target,
    instance: Arc<Mutex<Option<Arc<str>>>>,
}

impl Wire {
    /// Who was asked, as far as is known.
    pub(crate) fn instance(&self) -> Option<Arc<str>> {
        self.instance.lock().clone()
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (channel, address) = match &self.transport {
            Transport::Mesh(mesh) => {
                let note = |instance: &Arc<discovery::Instance>| {
                    *self.instance.lock() = Some(instance.key.id.clone());
                };
                let answer = mesh.call(&self.target, request, note).await;
                let answer = answer.map_err(|error| error.status())?;
                return Ok(answer.map(Body::new));
            }
            Transport::Router { channel, address } => (channel.clone(), address),
        };
        let answer = channel.oneshot(request).await.map_err(|error| {
            let cause = innermost(&error);
            let text = format!("no router answers at {address}: {cause}");
            let facts = [("router", address.to_string())];
            error_info::status(Code::Unavailable, "ROUTER_UNREACHABLE", text, facts)
        })?;
        let instance = answer.headers().get(INSTANCE);
        if let Some(instance) = instance.and_then(|value| value.to_str().ok()) {
            *self.instance.lock() = Some(instance.into());
        }
        Ok(answer)
    }
}

impl tower::Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Capacity is looked at when the request is there.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// The innermost reason, since the outer ones say only that it is a transport error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_consul_name_and_its_public_id() {
        let tags = |tag: &str| vec![tag.to_owned()];
        let catalog = Catalog {
            services: [
                ("agent-echo".into(), tags("agent")),
                ("tool-echo".into(), tags("tool")),
                ("shop".into(), tags("grpc")),
            ]
            .into(),
        };
        for (name, found) in [
            ("agent-echo", Some("agent-echo")),
            ("echo-agent", Some("agent-echo")),
            ("echo-tool", Some("tool-echo")),
            ("shop", Some("shop")),
            ("echo", None),
            ("", None),
        ] {
            assert_eq!(find(&catalog, name).as_deref(), found, "{name}");
        }
    }
}
