//! Traces against a collector on a real socket. Logging is the process's, so this file has one
//! test.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use mesh_telemetry::{self as telemetry, LogLevel, TelemetryOptions, propagation};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let sent = self.0.send(request.into_inner()).await;
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_continues_its_callers_trace_and_reaches_the_collector() {
    let (sender, mut received) = mpsc::channel(8);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    let options = TelemetryOptions {
        service_name: "agent-test".to_owned(),
        instance_id: "test-agent-1".to_owned(),
        otlp_endpoint: Some(endpoint),
        // Of the traces that begin here. The caller's is recorded all the same.
        sample_ratio: 0.0,
        ..TelemetryOptions::default()
    };
    let guard = telemetry::init(&options).unwrap();
    assert!(telemetry::tracing_enabled());
    assert!(
        telemetry::init(&TelemetryOptions::default()).is_err(),
        "logging is set up once"
    );

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut headers = HeaderMap::new();
    let parent = HeaderValue::from_str(&format!("00-{trace}-b7ad6b7169203331-01")).unwrap();
    headers.insert("traceparent", parent.clone());
    let span = tracing::info_span!("call", otel.kind = "server");
    propagation::set_parent(&span, &headers);
    propagation::inject(&span, &mut headers);
    let told = headers["traceparent"].to_str().unwrap();
    assert!(
        told.starts_with(&format!("00-{trace}-")) && told != parent,
        "{told}"
    );
    drop(span);
    drop(tracing::info_span!("begun here", otel.kind = "server"));

    telemetry::set_log_level(LogLevel::Debug).unwrap();
    assert_eq!(telemetry::log_level(), Some(LogLevel::Debug));

    let flush = tokio::task::spawn_blocking(|| guard.shutdown(Duration::from_secs(5)));
    flush.await.unwrap().unwrap();
    let request = received.recv().await.unwrap();
    let resource = &request.resource_spans[0];
    let attributes = format!("{:?}", resource.resource);
    assert!(attributes.contains("agent-test") && attributes.contains("test-agent-1"));
    let spans = &resource.scope_spans[0].spans;
    assert_eq!(
        spans.len(),
        1,
        "neither what begins here nor the exporter's own calls: {spans:?}"
    );
    assert_eq!(spans[0].name, "call");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&spans[0].trace_id), trace);
    assert_eq!(hex(&spans[0].parent_span_id), "b7ad6b7169203331");
    assert!(told.contains(&hex(&spans[0].span_id)));
}
