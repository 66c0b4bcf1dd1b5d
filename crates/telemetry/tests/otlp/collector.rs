//! A collector within the test, by tonic.

use std::{net::SocketAddr, sync::mpsc, time::Duration};

use http::HeaderMap;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tonic::{Request, Response, Status};

/// What came at once.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) request: ExportTraceServiceRequest,
}

pub(crate) struct Collector {
    received: mpsc::Receiver<Received>,
    _server: JoinHandle<()>,
}

struct Service(mpsc::SyncSender<Received>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let headers = metadata.into_headers();
        let sent = self.0.send(Received { headers, request });
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) fn start(runtime: &Runtime, address: SocketAddr) -> Self {
        let (sender, received) = mpsc::sync_channel(8);
        let server = runtime.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(Service(sender)))
                .serve(address)
                .await
                .unwrap();
        });
        Self {
            received,
            _server: server,
        }
    }

    pub(crate) fn next(&self, patience: Duration) -> Received {
        self.received.recv_timeout(patience).unwrap()
    }
}

impl Received {
    pub(crate) fn spans(&self) -> &[Span] {
        &self.request.resource_spans[0].scope_spans[0].spans
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of an attribute.
pub(crate) fn text(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}
