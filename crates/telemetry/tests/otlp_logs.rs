//! Log lines that go to a collector on a real socket. The log is the process's, so there is one test.

use std::{net::TcpListener, sync::mpsc, time::Duration};

use mesh_telemetry::{
    self as telemetry, LogFormat, LogOutput, OtlpOptions, TelemetryOptions, TraceContext,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    common::v1::any_value::Value,
    logs::v1::LogRecord,
};
use tonic::{Request, Response, Status};

const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Service(mpsc::SyncSender<ExportLogsServiceRequest>);

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let sent = self.0.send(request.into_inner());
        sent.map_err(|_| Status::unavailable("the test is over"))?;
        // It took the rest.
        let partial_success = Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "too old".to_owned(),
        });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}

fn attribute(record: &LogRecord, name: &str) -> Option<Value> {
    let found = record.attributes.iter().find(|it| it.key == name)?;
    found.value.as_ref()?.value.clone()
}

#[test]
fn lines_reach_the_collector_with_their_trace() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (sender, received) = mpsc::sync_channel(8);
    let _server = runtime.spawn(async move {
        tonic::transport::Server::builder()
            .add_service(LogsServiceServer::new(Service(sender)))
            .serve(address)
            .await
            .unwrap();
    });
    let options = TelemetryOptions {
        service_name: "agent-test".to_owned(),
        format: LogFormat::Json,
        output: LogOutput::Stderr,
        otlp_logs: true,
        otlp: Some(OtlpOptions {
            endpoint: format!("http://{address}"),
            ..OtlpOptions::default()
        }),
        ..TelemetryOptions::default()
    };
    let guard = telemetry::init(&options).unwrap();
    let context = TraceContext::parse(PARENT).unwrap();
    context.sync_scope(|| {
        let span = tracing::info_span!("job", job = "default/0/7");
        span.in_scope(|| {
            tracing::info!(
                execution_time_ms = 12.5,
                retried = true,
                left = -3,
                "job succeeded"
            );
        });
    });
    for _ in 0..5 {
        tracing::warn!(url = "redis://me:hunter2@host/", "no answer");
    }
    guard.shutdown(Duration::from_secs(5)).unwrap();

    let request = received.recv_timeout(Duration::from_secs(5)).unwrap();
    let resource = &request.resource_logs[0];
    assert!(format!("{:?}", resource.resource).contains("agent-test"));
    let records = &resource.scope_logs[0].log_records;
    let body = |record: &LogRecord| match record.body.as_ref().unwrap().value.clone() {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    };
    let [job, warning] = &records[..] else {
        panic!("{records:?}");
    };
    assert_eq!(
        (body(job), body(warning)),
        ("job succeeded".to_owned(), "no answer".to_owned())
    );
    let text = |text: &str| Some(Value::StringValue(text.to_owned()));
    assert_eq!(attribute(job, "job"), text("default/0/7"));
    assert_eq!(
        attribute(job, "execution_time_ms"),
        Some(Value::DoubleValue(12.5))
    );
    assert_eq!(attribute(job, "retried"), Some(Value::BoolValue(true)));
    assert_eq!(attribute(job, "left"), Some(Value::IntValue(-3)));
    assert_eq!(job.trace_id, context.trace_id.to_bytes());
    assert_eq!(job.span_id, context.span_id.to_bytes());
    assert_eq!((job.severity_number, &*job.severity_text), (9, "INFO"));
    assert!(job.time_unix_nano > 0);
    assert_eq!((warning.severity_number, warning.trace_id.len()), (13, 0));
    assert_eq!(attribute(warning, "url"), text("redis://***@host/"));
    for reason in ["queue_full", "unreachable", "shutdown"] {
        assert_eq!(telemetry::dropped("logs", reason).get(), 0, "{reason}");
    }
    // The line that tells of it is a record too.
    let refused = telemetry::dropped("logs", "refused").get();
    assert!((1..=2).contains(&refused), "{refused}");
}
