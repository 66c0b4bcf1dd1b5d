//! The way to a service: straight to its instances, or through a router.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use channel::{Mesh, ResponseBody, Target};
use http::{Request, Response};
use parking_lot::Mutex;
use proto::error_info::{self, Reason};
use tonic::{
    Code, Status, Streaming,
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::ServiceExt as _;

use crate::{INSTANCE, InvalidAddress, address::address, exchange};

/// A router's port when its address has none.
const PORT: u16 = 50051;
/// Largest metadata of an answer, bytes: more than routers forward.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// Longest wait for a connection to a router.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

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
        /// The mesh that counts the calls, where somebody reads that.
        counted: Option<Mesh>,
    },
}

impl Transport {
    /// Through the router at an address, which is connected to with the first call.
    ///
    /// # Errors
    /// [`InvalidAddress`] for what is no address.
    pub fn router(text: &str) -> Result<Self, InvalidAddress> {
        let address = address(text, PORT)?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| InvalidAddress::Other(address.clone()))?;
        Ok(Self::Router {
            channel: endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .http2_max_header_list_size(MAX_HEADER_BYTES)
                .connect_lazy(),
            address: address.into(),
            counted: None,
        })
    }

    /// The same for a program of the mesh: its calls are in its metrics and traces.
    ///
    /// # Errors
    /// [`InvalidAddress`] for what is no address.
    pub fn counted_router(text: &str, mesh: &Mesh) -> Result<Self, InvalidAddress> {
        let mut transport = Self::router(text)?;
        if let Self::Router { counted, .. } = &mut transport {
            *counted = Some(mesh.clone());
        }
        Ok(transport)
    }

    /// The way to `target`, which a router is told as `id`.
    pub(crate) fn target_channel(&self, id: &Arc<str>, target: Target) -> TargetChannel {
        TargetChannel {
            transport: self.clone(),
            id: Arc::clone(id),
            target,
            instance: Arc::default(),
        }
    }
}

/// A channel to one service that records the instance that answers.
#[derive(Clone, Debug)]
pub(crate) struct TargetChannel {
    transport: Transport,
    id: Arc<str>,
    target: Target,
    instance: Arc<Mutex<Option<Arc<str>>>>,
}

impl TargetChannel {
    /// The instance that was asked, as far as is known.
    pub(crate) fn instance(&self) -> Option<Arc<str>> {
        self.instance.lock().clone()
    }

    /// Sends a request, and returns the messages of its answer, none larger than `max_bytes`.
    pub(crate) async fn exchange(
        &self,
        request: Request<Body>,
        max_bytes: usize,
    ) -> Result<Streaming<Bytes>, Status> {
        match &self.transport {
            Transport::Mesh(mesh) => {
                exchange::messages(self.balance(mesh, request).await?, max_bytes)
            }
            Transport::Router { .. } => exchange::messages(self.send(request).await?, max_bytes),
        }
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        match &self.transport {
            Transport::Mesh(mesh) => Ok(self.balance(mesh, request).await?.map(Body::new)),
            Transport::Router {
                channel,
                address,
                counted,
            } => {
                self.relay(channel, address, counted.as_ref(), request)
                    .await
            }
        }
    }

    /// Straight to an instance.
    async fn balance(
        &self,
        mesh: &Mesh,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, Status> {
        let note = |instance: &Arc<discovery::Instance>| {
            *self.instance.lock() = Some(instance.key.id.clone());
        };
        let answer = mesh.call(&self.target, request, note).await;
        answer.map_err(|error| error.status())
    }

    /// To a router, which says who answers.
    async fn relay(
        &self,
        channel: &Channel,
        address: &str,
        counted: Option<&Mesh>,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let send = async |request: Request<Body>| {
            channel.clone().oneshot(request).await.map_err(|error| {
                let cause = telemetry::root_cause(&error);
                let text = format!("no router answers at {address}: {cause}");
                let facts = [("router", address.to_owned())];
                error_info::status(Code::Unavailable, Reason::RouterUnreachable, text, facts)
            })
        };
        let answer = match counted {
            Some(mesh) => {
                // Reflection of the whole mesh is no service's.
                let named = request.headers().contains_key(crate::SERVICE);
                let id = if named { &*self.id } else { "" };
                mesh.call_by_router(id, address, request, send).await?
            }
            None => send(request).await?,
        };
        let instance = answer.headers().get(INSTANCE);
        if let Some(instance) = instance.and_then(|value| value.to_str().ok()) {
            *self.instance.lock() = Some(instance.into());
        }
        Ok(proto::details::checked(answer))
    }
}

impl tower::Service<Request<Body>> for TargetChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Capacity is checked when there is a request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.clone();
        Box::pin(async move { channel.send(request).await })
    }
}
