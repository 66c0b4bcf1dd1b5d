//! Traces against a collector on a real socket. Traces are the process's, so there is one test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod collector;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use collector::{Collector, Received, hex, text};
use mesh_telemetry::{
    self as telemetry, LogLevel, OtlpOptions, ScopedSpan, Signal, Span, SpanEnd, SpanKind,
    TelemetryOptions, TraceContext, TraceOptions,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A span below the caller's context with this flag, ended `failed` after some time.
fn call(flag: &str, name: &str, failed: bool, took: Duration) -> TraceContext {
    let caller = TraceContext::parse(format!("00-{TRACE}-{CALLER}-{flag}").as_bytes()).unwrap();
    let began = Instant::now();
    let span = Span::begin(Some(caller), began);
    let end = SpanEnd {
        name,
        kind: SpanKind::Server,
        failed,
        at: began + took,
    };
    span.end(end, |fields| {
        fields.text("rpc.system.name", "grpc");
        fields.number("mesh.attempt", 3);
        fields.number("negative", -1);
        fields.texts("list", &["a", "b"]);
        fields.link(caller);
    });
    span.context()
}

#[test]
fn a_span_continues_its_callers_trace_and_reaches_the_collector() {
    // Nobody listens there yet: calls do not wait, and spans do.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let options = TelemetryOptions {
        service_name: "agent-test".to_owned(),
        instance_id: "test-agent-1".to_owned(),
        otlp: Some(OtlpOptions {
            endpoint: format!("http://{address}"),
            headers: telemetry::otlp_headers("api-key=s3cret").unwrap(),
            ..OtlpOptions::default()
        }),
        traces: TraceOptions {
            // Of the traces that begin here. The caller's is recorded all the same.
            ratio: 0.0,
            slow: Duration::from_secs(5),
            errors: 4,
            content: false,
        },
        ..TelemetryOptions::default()
    };
    let guard = telemetry::init(&options).unwrap();
    assert!(telemetry::tracing_enabled());
    assert!(
        telemetry::init(&TelemetryOptions::default()).is_err(),
        "logging is set up once"
    );
    telemetry::set_log_level(LogLevel::Debug).unwrap();
    assert_eq!(telemetry::log_level(), Some(LogLevel::Debug));

    let brief = Duration::from_millis(7);
    let told = call("01", "call", false, brief);
    assert_eq!(told.trace_id.to_string(), TRACE);
    assert!(told.sampled && told.span_id.to_string() != CALLER);
    // Of a trace that is not recorded, the caller's context goes on.
    let passed = call("00", "unrecorded", false, brief);
    assert_eq!(passed.span_id.to_string(), CALLER);
    drop(ScopedSpan::below(None, "begun here", SpanKind::Internal));
    // The second may be over while they end: then there are at most as many of the next.
    for _ in 0..50 {
        call("00", "failed", true, brief);
    }
    // Later, when the second's are spent no longer.
    std::thread::sleep(Duration::from_millis(1100));
    call("00", "slow", false, Duration::from_secs(6));

    // A collector that comes late gets what waits.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let collector = Collector::start(&runtime, address);
    let flushed = Instant::now();
    let first = collector.next(Duration::from_secs(10));
    assert!(
        flushed.elapsed() < Duration::from_secs(8),
        "it is tried again"
    );
    call("01", "last", false, brief);
    guard.shutdown(Duration::from_secs(5)).unwrap();
    let mut received = vec![first];
    while received
        .iter()
        .all(|it| it.spans().iter().all(|span| span.name != "last"))
    {
        received.push(collector.next(Duration::from_secs(5)));
    }
    check(&received);
    let dropped = telemetry::otlp_dropped(Signal::Spans);
    assert_eq!(dropped, [0; 4], "nothing is lost");
    assert!(!telemetry::tracing_enabled());
}

fn check(received: &[Received]) {
    for one in received {
        assert_eq!(one.headers["api-key"], "s3cret");
        let resource = format!("{:?}", one.request.resource_spans[0].resource);
        assert!(resource.contains("agent-test") && resource.contains("test-agent-1"));
    }
    let spans: Vec<_> = received.iter().flat_map(Received::spans).collect();
    let named = |name: &str| {
        spans
            .iter()
            .filter(|span| span.name == name)
            .collect::<Vec<_>>()
    };
    assert!(
        named("unrecorded").is_empty() && named("begun here").is_empty(),
        "neither what is not recorded nor what begins here: {spans:?}"
    );
    let calls = named("call");
    let [call] = calls[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(hex(&call.trace_id), TRACE);
    assert_eq!(hex(&call.parent_span_id), CALLER);
    assert_eq!((call.kind, call.status.is_none()), (2, true));
    assert_eq!(
        call.end_time_unix_nano - call.start_time_unix_nano,
        7_000_000
    );
    assert_eq!(text(call, "rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(text(call, "mesh.sampled"), None);
    let attributes = format!("{:?}", call.attributes);
    assert!(attributes.contains("IntValue(3)") && attributes.contains("IntValue(-1)"));
    assert!(attributes.contains(r#"StringValue("b")"#), "{attributes}");
    assert_eq!(hex(&call.links[0].span_id), CALLER);

    let failed = named("failed");
    assert!(
        (4..=8).contains(&failed.len()),
        "trace_errors a second: {}",
        failed.len()
    );
    for span in failed {
        assert_eq!(text(span, "mesh.sampled").as_deref(), Some("error"));
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), CALLER);
    }
    let slow = named("slow");
    assert_eq!(slow.len(), 1);
    assert_eq!(text(slow[0], "mesh.sampled").as_deref(), Some("slow"));
}
