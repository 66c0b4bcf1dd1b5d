//! Calls that a router carries, and not the connections of this mesh. They are counted and traced like
//! the others: once each, by the service that they are for.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::Authority};
use http_body::{Frame, SizeHint};
use proto::MeshCause;
use telemetry::{Span, TraceContext, tracing_enabled};
use tonic::{Code, Status, body::Body};

use crate::{
    Mesh,
    attempt_span::{CallTrace, end_span},
    body::grpc_status,
};

impl Mesh {
    /// Sends a call by `send`, to the router at `address`. `id` names the service that it is for.
    ///
    /// # Errors
    /// Those of `send`.
    pub async fn call_by_router<F>(
        &self,
        id: &str,
        address: &str,
        mut request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
    ) -> Result<Response<Body>, Status>
    where
        F: Future<Output = Result<Response<Body>, Status>>,
    {
        let mut call = RoutedCall {
            mesh: self.clone(),
            id: id.to_owned(),
            address: address.to_owned(),
            uri: request.uri().clone(),
            began: Instant::now(),
            trace: TraceContext::current().filter(|it| it.sampled && tracing_enabled()),
            span: CallTrace::of(request.headers()).begin_span(request.headers_mut()),
            ended: false,
        };
        match send(request).await {
            Ok(answer) => {
                if let Some(code) = grpc_status(answer.headers()) {
                    call.end(code, None);
                    return Ok(answer);
                }
                Ok(answer.map(|body| Body::new(CountedBody { body, call })))
            }
            Err(status) => {
                call.end(status.code().into(), MeshCause::of(&status));
                Err(status)
            }
        }
    }

    /// Consul name of the service that an id names, as far as the catalog tells.
    fn known(&self, id: &str) -> Option<Arc<str>> {
        let catalog = self.discovery().catalog();
        let catalog = catalog.borrow();
        catalog.as_ref()?.named(id)
    }
}

/// A call that has begun. Dropped before its status is known, it was cancelled.
struct RoutedCall {
    mesh: Mesh,
    id: String,
    address: String,
    uri: Uri,
    began: Instant,
    /// The trace that it belongs to, where that is recorded.
    trace: Option<TraceContext>,
    span: Option<Span>,
    ended: bool,
}

impl RoutedCall {
    fn end(&mut self, code: i32, cause: Option<MeshCause>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (path, service) = (self.uri.path(), self.mesh.known(&self.id));
        let calls = self.mesh.client_calls();
        let took = self.began.elapsed();
        calls.observe_routed(service.as_deref(), path, code, took, self.trace);
        let Some(span) = self.span else { return };
        end_span(span, path, Some(code), cause, |fields| {
            fields.text("mesh.service", service.as_deref().unwrap_or(&self.id));
            if let Ok(address) = self.address.parse::<Authority>() {
                fields.text("server.address", address.host());
                if let Some(port) = address.port_u16() {
                    fields.number("server.port", port.into());
                }
            }
        });
    }
}

impl Drop for RoutedCall {
    fn drop(&mut self) {
        self.end(Code::Cancelled.into(), None);
    }
}

/// An answer, followed to its status.
struct CountedBody {
    body: Body,
    call: RoutedCall,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code = grpc_status(trailers).unwrap_or(Code::Unknown.into());
                    self.call.end(code, None);
                }
            }
            Some(Err(status)) => self.call.end(status.code().into(), Some(MeshCause::Reset)),
            None => self.call.end(Code::Unknown.into(), None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
